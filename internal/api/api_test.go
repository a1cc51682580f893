// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the OpenAPI document anew")

const document = "../../docs/api.json"

// TestDocument: the OpenAPI document in docs is that of the code.
func TestDocument(t *testing.T) {
	s := &Server{Version: "1"}
	got, err := json.MarshalIndent(s.describe(http.NewServeMux()).OpenAPI(), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(document, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("go test ./internal/api -update writes it anew (-docs +code):\n%.2000s", diff)
	}
}
