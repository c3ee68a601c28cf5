package console

import "time"

// parseStartAt reads when a flow's steps are to start, in UTC; "" is the zero
// time, which is at once, as is the past.
func parseStartAt(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, wrong("start_at", `must be a time such as "2030-01-31T09:30:00Z"`)
	}
	if at.Year() < 1970 || time.Until(at) > time.Duration(maxTimeoutMS)*time.Millisecond {
		return time.Time{}, wrong("start_at", "must be at or after 1970 and at most ten years from now")
	}
	return at.UTC(), nil
}

// nanoseconds are those since 1970; 0 for the zero time.
func nanoseconds(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.UnixNano()
}
