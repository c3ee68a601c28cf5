package step

import (
	"strconv"
	"strings"
)

// canonicalNumber writes a JSON number so that equal values have equal texts:
// digits without zeros at either end, and the power of ten. It works on the
// text alone, in time linear in its length, whatever the exponent.
func canonicalNumber(text string) string {
	text, negative := strings.CutPrefix(text, "-")
	mantissa, exponent := text, "0"
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa, exponent = text[:i], text[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	significant := strings.TrimRight(digits, "0")
	shift := int64(len(digits) - len(significant) - len(fraction))
	number := significant + "e" + addToExponent(exponent, shift)
	if negative {
		return "-" + number
	}
	return number
}

// An exponent of up to lowDigits digits fits into an int64; of a longer one the
// last lowDigits do.
const (
	lowDigits = 18
	lowLimit  = int64(1_000_000_000_000_000_000)
)

// addToExponent adds shift, which is small against lowLimit, to an exponent of
// any length.
func addToExponent(exponent string, shift int64) string {
	digits, negative := strings.CutPrefix(exponent, "-")
	digits = strings.TrimLeft(digits, "+0")
	if negative {
		shift = -shift // as seen by the digits
	}
	sign := ""
	if negative {
		sign = "-"
	}
	if len(digits) <= lowDigits {
		n, _ := strconv.ParseInt("0"+digits, 10, 64) // at most 18 digits
		n += shift
		if negative {
			n = -n
		}
		return strconv.FormatInt(n, 10)
	}
	high, lowText := digits[:len(digits)-lowDigits], digits[len(digits)-lowDigits:]
	low, _ := strconv.ParseInt(lowText, 10, 64) // 18 digits
	switch low += shift; {
	case low < 0:
		low, high = low+lowLimit, decremented(high)
	case low >= lowLimit:
		low, high = low-lowLimit, incremented(high)
	}
	lowText = strconv.FormatInt(low, 10)
	if high == "" {
		return sign + lowText
	}
	return sign + high + strings.Repeat("0", lowDigits-len(lowText)) + lowText
}

func incremented(digits string) string {
	kept := strings.TrimRight(digits, "9")
	zeros := strings.Repeat("0", len(digits)-len(kept))
	if kept == "" {
		return "1" + zeros
	}
	last := len(kept) - 1
	return kept[:last] + string(kept[last]+1) + zeros
}

// decremented takes one from digits, which are more than zero; no digits are
// zero.
func decremented(digits string) string {
	kept := strings.TrimRight(digits, "0")
	last := len(kept) - 1
	nines := strings.Repeat("9", len(digits)-len(kept))
	return strings.TrimLeft(kept[:last]+string(kept[last]-1)+nines, "0")
}

// wholeNumber returns the value of a JSON number that is a whole one of at most
// 18 digits, however it is written.
func wholeNumber(text string) (int64, bool) {
	digits, exponent, _ := strings.Cut(canonicalNumber(text), "e")
	zeros, err := strconv.ParseUint("0"+exponent, 10, 64)
	if err != nil || zeros > lowDigits || len(digits)+int(zeros) > lowDigits {
		return 0, false
	}
	n, err := strconv.ParseInt(digits+strings.Repeat("0", int(zeros)), 10, 64)
	return n, err == nil
}
