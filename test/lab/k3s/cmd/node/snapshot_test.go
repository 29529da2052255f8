package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

func TestASnapshotIsAskedForInOneWay(t *testing.T) {
	e := &Etcd{config: &Config{}}
	for body, wanted := range map[string]int{
		`{"operation":"save","name":["contract"]}`:   http.StatusServiceUnavailable, // etcd is not running here
		`{"operation":"delete","name":["contract"]}`: http.StatusBadRequest,
		`{"operation":"save"}`:                       http.StatusBadRequest,
		`save`:                                       http.StatusBadRequest,
	} {
		answer := httptest.NewRecorder()
		e.serveSnapshot(answer, httptest.NewRequest(http.MethodPost, "/db/snapshot", strings.NewReader(body)))
		if answer.Code != wanted {
			t.Errorf("%s: %d, expected %d", body, answer.Code, wanted)
		}
	}
}

func TestTheListOfSnapshotsIsCounted(t *testing.T) {
	snapshotReconcile.Reset()
	snapshotReconcileLocal.Reset()
	folder := t.TempDir()
	if err := os.WriteFile(folder+"/on-demand-x-1", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &Config{values: map[string][]string{"etcd-snapshot-dir": {folder}}}
	if all, err := c.reconcile(); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	for _, counted := range []float64{series(t, snapshotReconcile)["status=success"], series(t, snapshotReconcileLocal)["status=success"]} {
		if counted != 1 {
			t.Errorf("counted %v", counted)
		}
	}
}
