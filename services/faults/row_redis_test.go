package faults_test

import (
	"bufio"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/sluiceflow/sluice/services/faults/internal/world"
)

func TestRowRedisKilled(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "Redis killed, and back empty", short: 5, long: 50, pause: 5 * second, indexLost: true,
		once: func(r *run) {
			r.moment(second)
			r.w.Kill(world.Redis)
			r.moment(2 * second)
			r.must(r.w.Restart(r.t.Context(), world.Redis))
			r.await(world.Redis)
		},
	})
}

func TestRowRedisFlushed(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "FLUSHALL in Redis", short: 3, long: 50, pause: 5 * second, indexLost: true,
		once: func(r *run) {
			r.moment(2 * second)
			r.must(flush(r.w.RedisAddr()))
		},
	})
}

func flush(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, second)
	if err != nil {
		return fmt.Errorf("reach redis-server: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * second)); err != nil {
		return fmt.Errorf("bound the call of redis-server: %w", err)
	}
	if _, err := conn.Write([]byte("FLUSHALL\r\n")); err != nil {
		return fmt.Errorf("write to redis-server: %w", err)
	}
	said, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || said != "+OK\r\n" {
		return fmt.Errorf("FLUSHALL: %q: %w", said, err)
	}
	return nil
}

// A Redis that hangs keeps nobody: neither webhooks nor flows wait for it, and
// those who ask it do not pile up.
func TestRowRedisHangs(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "Redis hangs for 5 s", short: 1, long: 5, pause: 5 * second, indexLost: true,
		once: func(r *run) {
			r.moment(second)
			r.must(r.w.Pause(world.Redis))
			r.wait(5 * second)
			r.lean("gateway-1")
			r.lean("engine-1")
			r.must(r.w.Continue(world.Redis))
		},
	})
}

func TestRowRedisSlow(t *testing.T) {
	t.Parallel()
	play(t, row{
		fault: "Redis answers 200 ms late for 5 s", short: 1, long: 5, pause: 5 * second, indexLost: true,
		world: world.Options{FarRedis: true},
		once: func(r *run) {
			r.moment(second)
			r.w.Proxy(world.Redis).Delay(100 * time.Millisecond)
			r.wait(5 * second)
			r.lean("gateway-1")
			r.w.Proxy(world.Redis).Heal()
		},
	})
}
