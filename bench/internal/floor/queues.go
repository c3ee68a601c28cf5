package floor

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// WebhookHeader carries the webhook URL of an invocation.
const WebhookHeader = "X-Webhook-Url"

// prefetch is how many messages a consumer holds ahead of its handler.
const prefetch = 1000

// consume creates the streams and starts the consumers of both work queues.
func (p *pipe) consume(ctx context.Context) error {
	if _, err := p.js.CreateStream(ctx, jetstream.StreamConfig{Name: "FLOOR_FLOWS", Subjects: []string{"floor.flow.>"}}); err != nil {
		return fmt.Errorf("create the stream of commits: %w", err)
	}
	if err := p.queue(ctx, "FLOOR_COMMANDS", "floor.cmd.>", func(m jetstream.Msg) { p.completed(ctx, m) }); err != nil {
		return err
	}
	return p.queue(ctx, "FLOOR_INVOCATIONS", "floor.invoke.>", func(m jetstream.Msg) { p.dispatch(ctx, m) })
}

func (p *pipe) queue(ctx context.Context, stream, subject string, handle jetstream.MessageHandler) error {
	cfg := jetstream.StreamConfig{Name: stream, Subjects: []string{subject}, Retention: jetstream.WorkQueuePolicy}
	if _, err := p.js.CreateStream(ctx, cfg); err != nil {
		return fmt.Errorf("create the stream %s: %w", stream, err)
	}
	consumer, err := p.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: "floor", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10 * prefetch,
	})
	if err != nil {
		return fmt.Errorf("create the consumer of %s: %w", stream, err)
	}
	consuming, err := consumer.Consume(handle, jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return fmt.Errorf("consume %s: %w", stream, err)
	}
	p.stops = append(p.stops, consuming.Stop)
	return nil
}

// emit writes the token of a step and asks for its invocation.
func (p *pipe) emit(ctx context.Context, id string, step int) error {
	token := id + "-" + strconv.Itoa(step)
	if err := p.rdb.Set(ctx, "token:"+token, id, tokenTTL).Err(); err != nil {
		return fmt.Errorf("write a token: %w", err)
	}
	url := p.gateway + "/webhook/" + id + "/" + token
	if _, err := p.js.PublishMsgAsync(&nats.Msg{Subject: "floor.invoke." + id, Data: []byte(url)}); err != nil {
		return fmt.Errorf("publish an invocation: %w", err)
	}
	return nil
}

// dispatch POSTs an invocation to the worker.
func (p *pipe) dispatch(ctx context.Context, m jetstream.Msg) {
	p.slots <- struct{}{}
	go func() {
		defer func() { <-p.slots }()
		if err := p.post(ctx, string(m.Data())); err != nil {
			p.fail(fmt.Errorf("invoke the worker: %w", err))
			return
		}
		p.ack(m)
	}()
}

func (p *pipe) post(ctx context.Context, webhook string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.cfg.Worker, bytes.NewReader(p.body))
	if err != nil {
		return err
	}
	req.Header.Set(WebhookHeader, webhook)
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// webhook is the gateway: it claims the token, stores the completion and answers.
func (p *pipe) webhook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil {
		err = p.rdb.SetNX(r.Context(), "claim:"+r.PathValue("token"), "done", tokenTTL).Err()
	}
	if err == nil {
		err = p.store(r.Context(), &nats.Msg{Subject: "floor.cmd." + r.PathValue("flow"), Data: body})
	}
	if err != nil {
		p.fail(fmt.Errorf("take a webhook: %w", err))
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// completed commits a completion and asks for what follows, and only then acks it.
func (p *pipe) completed(ctx context.Context, m jetstream.Msg) {
	id := m.Subject()[strings.LastIndexByte(m.Subject(), '.')+1:]
	value, ok := p.flows.Load(id)
	if !ok {
		p.ack(m) // delivered twice
		return
	}
	f, ok := value.(*flow)
	if !ok {
		return
	}
	f.step++
	step := f.step
	stored, err := p.js.PublishMsgAsync(&nats.Msg{Subject: "floor.flow." + id, Data: p.body})
	if err != nil {
		p.fail(fmt.Errorf("publish a commit: %w", err))
		return
	}
	p.steps.Add(1)
	go func() {
		if err := await(ctx, stored); err != nil {
			p.fail(fmt.Errorf("store a commit: %w", err))
			return
		}
		if step == p.cfg.Steps {
			close(f.done)
		} else if err := p.emit(ctx, id, step); err != nil {
			p.fail(err)
			return
		}
		p.ack(m)
	}()
}

func (p *pipe) store(ctx context.Context, m *nats.Msg) error {
	stored, err := p.js.PublishMsgAsync(m)
	if err != nil {
		return err
	}
	return await(ctx, stored)
}

func (p *pipe) ack(m jetstream.Msg) {
	if err := m.Ack(); err != nil {
		p.fail(fmt.Errorf("ack a message: %w", err))
	}
}

func await(ctx context.Context, stored jetstream.PubAckFuture) error {
	select {
	case <-stored.Ok():
		return nil
	case err := <-stored.Err():
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
