package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"holdfast/domain"
)

// AuditProgress is how far an audit is.
type AuditProgress struct {
	Partitions int `json:"partitions" doc:"Whose state was looked at."`
	Of         int `json:"of" doc:"How many there are."`
	Facts      int `json:"facts" doc:"That were folded."`
}

// AuditLine is one of those that an audit answers with.
type AuditLine struct {
	State    string          `json:"state" enum:"running,done,failed" doc:"done and failed are the last."`
	Progress *AuditProgress  `json:"progress,omitempty"`
	Report   json.RawMessage `json:"report,omitempty" doc:"With done: the object of holdfast audit -o json; its ok is the verdict."`
	Problem  *Problem        `json:"problem,omitempty" doc:"With failed: why not everything could be looked at."`
}

// typeJSONLines is the media type of bodies of JSON objects, a line each.
const typeJSONLines = "application/jsonl"

// auditTells is how often it is told how far an audit is.
const auditTells = 250 * time.Millisecond

func (s *Server) registerAudit() {
	registerOfAll(s, huma.Operation{
		OperationID: "audited", Method: http.MethodGet, Path: "/v1/audit", Summary: "What the newest audits found", Tags: []string{"sres"},
		Description: "Of the books, of the payments, and of the archive, each as far as it was ever looked at.",
	}, operators, func(ctx context.Context, _ *struct{}) (*objectsOutput, error) {
		return s.objects(s.deps.Operating.Audited(ctx))
	})
	registerOfAll(s, huma.Operation{
		OperationID: "audit", Method: http.MethodPost, Path: "/v1/audit", Summary: "Prove that the books are right", Tags: []string{"sres"},
		Description: "It may run while tickets are sold. The answer goes on until it is done, and says how far it is, an AuditLine a line. It ends with whoever asked for it: who hangs up has stopped it.",
		Responses: map[string]*huma.Response{"200": {Description: "Lines of JSON.", Content: map[string]*huma.MediaType{
			typeJSONLines: {Schema: schemaOf[AuditLine](s)},
		}}},
	}, operators, s.audit)
}

var errAuditing = problemOf(http.StatusConflict, domain.CodeConflict, "an audit is under way: this process makes one at a time")

func (s *Server) audit(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	if !s.auditing.CompareAndSwap(false, true) {
		return nil, errAuditing
	}
	response, err := s.streaming(ctx, typeJSONLines, s.auditTo)
	if err != nil {
		s.auditing.Store(false)
		return nil, err
	}
	tell := response.Body
	response.Body = func(ctx huma.Context) {
		defer s.auditing.Store(false)
		tell(ctx)
	}
	return response, nil
}

// auditTo runs an audit, and says how far it is.
func (s *Server) auditTo(ctx context.Context, to *stream, still <-chan time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	var newest atomic.Pointer[AuditProgress]
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	ended := make(chan AuditLine, 1)
	running.Go(func() {
		report, err := s.deps.Operating.Audit(ctx, func(p AuditProgress) { newest.Store(&p) })
		if err != nil {
			ended <- AuditLine{State: "failed", Problem: s.problem(err)}
			return
		}
		ended <- AuditLine{State: "done", Report: report}
	})
	tick := time.NewTicker(auditTells)
	defer tick.Stop()
	for {
		line := AuditLine{State: "running"}
		select {
		case line = <-ended:
			return to.line(line)
		case <-tick.C:
			if line.Progress = newest.Swap(nil); line.Progress == nil {
				continue
			}
		case <-still:
		}
		if err := to.line(line); err != nil {
			return err
		}
	}
}
