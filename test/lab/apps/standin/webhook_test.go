package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
)

func freePort(t *testing.T) int {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// startRedis gives Debian's, and skips the test where it is not installed.
func startRedis(t *testing.T) *redisBackend {
	server, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("redis-server is not installed")
	}
	port := fmt.Sprint(freePort(t))
	process := exec.Command(server, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { process.Process.Kill(); process.Wait() })
	store := openRedis(&redis.Options{Addr: "127.0.0.1:" + port})
	for range 100 {
		if pingAll(t.Context(), []backend{store}) == nil {
			return store
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("Redis does not answer")
	return nil
}

type answered struct {
	Asked, Worker, Runner *self
	Error                 string
}

func ask(t *testing.T, url string) (int, answered) {
	response, err := http.Post(url, "text/plain", strings.NewReader("an order"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body answered
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

func TestAWebhookIsAnsweredByAWorkerAndItsRunner(t *testing.T) {
	jobs := queue{startRedis(t), "bull:jobs:wait", "bull:jobs:active"}
	port := freePort(t)
	external := given("N8N_RUNNERS_MODE=external", "N8N_RUNNERS_AUTH_TOKEN=token", fmt.Sprintf("N8N_RUNNERS_BROKER_PORT=%d", port),
		fmt.Sprintf("N8N_RUNNERS_TASK_BROKER_URI=http://127.0.0.1:%d", port), "N8N_RUNNERS_TASK_REQUEST_TIMEOUT=3")
	webhook := &self{App: "n8n", Process: "webhook", Pod: "webhook-1"}
	worker := &self{App: "n8n", Process: "worker", Pod: "worker-1", Version: "1", vars: external}
	own := &self{App: "runners", Process: "runner", Pod: "worker-1", Version: "1", vars: external}
	edge := httptest.NewServer(jobs.handler(webhook))
	defer edge.Close()

	runners, err := openBroker(worker)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan bool)
	go func() {
		jobs.take(ctx, 2, func(ctx context.Context, wanted job) done {
			runner, err := runners.run(ctx, wanted)
			if err != nil {
				return done{Worker: worker, Error: err.Error()}
			}
			return done{Worker: worker, Runner: runner}
		})
		close(ended)
	}()

	if status, body := ask(t, edge.URL); status != 500 || !strings.Contains(body.Error, "no runner took the task") {
		t.Error("without a runner:", status, body)
	}
	other := *own
	other.vars = given(fmt.Sprintf("N8N_RUNNERS_TASK_BROKER_URI=http://127.0.0.1:%d", port), "N8N_RUNNERS_AUTH_TOKEN=wrong")
	if err := runTasks(ctx, &other); err == nil || !strings.Contains(err.Error(), "the token is another one") {
		t.Error("a runner with another token:", err)
	}
	go runTasks(t.Context(), own)
	status, body := ask(t, edge.URL+"/webhook/orders")
	if status != 200 || body.Asked.Pod != "webhook-1" || body.Worker.Process != "worker" || body.Runner.App != "runners" {
		t.Error(status, body)
	}

	// A worker that is told to end finishes what it has.
	late := make(chan int)
	go func() {
		status, _ := ask(t, edge.URL+"/webhook/slow?ms=1000")
		late <- status
	}()
	for active := int64(0); active == 0; active, _ = jobs.store.LLen(t.Context(), jobs.active).Result() {
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if status := <-late; status != 200 {
		t.Error("the job was lost:", status)
	}
	<-ended
	if active, _ := jobs.store.LLen(t.Context(), jobs.active).Result(); active != 0 {
		t.Error("jobs are left:", active)
	}
}

func TestMainTakesNoWebhooksButShowsItsPage(t *testing.T) {
	me := &self{App: "n8n", Process: "main", Version: "1", vars: given("N8N_METRICS=true")}
	edge := httptest.NewServer(orMetrics(me, queue{}, editor(me)))
	defer edge.Close()
	for path, wanted := range map[string]string{"/webhook/x": "<title>n8n</title>", "/METRICS/": "n8n_instance_role_leader 1"} {
		response, err := http.Get(edge.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != 200 || !strings.Contains(string(body), wanted) {
			t.Error(path, response.StatusCode, string(body))
		}
	}
	response, err := http.Post(edge.URL+"/webhook/x", "text/plain", nil)
	if err != nil || response.StatusCode != 404 {
		t.Error(response.StatusCode, err)
	}
}

func TestAServerFinishesWhatHasBegun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	me := &self{App: "platform-api", Process: "api", Version: "broken-lab", Pod: "api-1", vars: given()}
	port, ended := freePort(t), make(chan error)
	go func() {
		ended <- me.serve(ctx, server{port: port, grace: 5 * time.Second, routes: func(mux *http.ServeMux, ready func(context.Context) error) {
			mux.HandleFunc("/ready", whenReady(ready))
			mux.HandleFunc("/cable", socket(`{"type":"welcome"}`, nil))
		}})
	}()
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	var response *http.Response
	err := error(nil)
	for range 100 {
		if response, err = http.Get(url + "/ready"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil || response.StatusCode != 503 || response.Header.Get("X-Standin") != me.String() {
		t.Fatal("an image that never gets ready:", response, err)
	}

	cable, _, err := websocket.Dial(t.Context(), url+"/cable", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, text, err := cable.Read(t.Context()); err != nil || string(text) != `{"type":"welcome"}` {
		t.Error(string(text), err)
	}
	cable.CloseNow()

	begun := make(chan int)
	go func() {
		response, err := http.Get(url + "/standin/slow?ms=700")
		if err != nil {
			begun <- 0
			return
		}
		begun <- response.StatusCode
	}()
	time.Sleep(200 * time.Millisecond)
	stop()
	if status := <-begun; status != 200 {
		t.Error("a request was cut off:", status)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
