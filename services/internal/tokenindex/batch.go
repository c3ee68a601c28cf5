package tokenindex

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// maxWaiting bounds the calls that wait for Redis in batches: a gateway has
// fewer webhooks at work, and when Redis hangs no more is kept for it.
const maxWaiting = 8192

// batches makes the calls that are at work in one moment go to Redis in one
// write. One that is alone goes at once.
func batches(rdb *redis.Client) (*redis.AutoPipeliner, error) {
	opts := redis.DefaultBlockingAutoPipelineOptions()
	opts.MaxQueuedCommands = maxWaiting
	return rdb.AsyncAutoPipelineWithOptions(opts)
}

// eval runs a script on one record, in a batch with those of other callers. It
// waits no longer than ctx says; the script may run all the same.
func (x *Index) eval(ctx context.Context, script *redis.Script, tokenHash string, args ...any) (string, error) {
	key := x.record(tokenHash)
	cmd := redis.NewCmd(ctx, append([]any{"evalsha", script.Hash(), 1, key}, args...)...)
	err := x.batch.Submit(ctx, cmd).WaitContext(ctx)
	switch {
	case redis.HasErrorPrefix(err, "NOSCRIPT"): // Redis is new
		return script.Eval(ctx, x.rdb, []string{key}, args...).Text()
	case err != nil:
		return "", err
	}
	return cmd.Text()
}
