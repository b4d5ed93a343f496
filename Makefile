# holdfast. Needs Go and make; what else a target needs, it installs.

GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da
TOOLS := $(CURDIR)/.tools/bin

.DEFAULT_GOAL := help

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: demo
demo: ## Show what holdfast does, in a few seconds, on an embedded Redis
	@go run ./cmd/holdfast demo

.PHONY: build
build: ## Build bin/holdfast
	CGO_ENABLED=0 go build -trimpath -o bin/holdfast ./cmd/holdfast

.PHONY: console
console: ## Build the pages of the console anew, from console/src. Needs Node; what is built is committed
	cd console && npm ci --no-audit --no-fund && npm run build

.PHONY: client
client: ## Generate clients/typescript anew, from api/openapi.json. Needs Node; what is generated is committed
	cd clients/typescript && npm ci --no-audit --no-fund && npm run generate

.PHONY: console-pictures
console-pictures: redis chromium ## Take the pictures of docs/console anew
	go test -count 1 -run TestInTheBrowser ./e2e/console -pictures

# All packages but the processes of e2e. Two run at a time, in this order: workers takes as long as half of the others, and so begins first.
UNITS = ./workers $$(go list ./... | grep -v -e /e2e -e '^holdfast/workers$$')

# What is validated goes on beside the packages; the processes, which are killed and looked at by the second, have the machine to themselves.
.PHONY: test
test: redis prometheus tmux chromium systemd-analyze ## Run every test on a real redis-server (installs one if there is none)
	@$(MAKE) -j 2 --output-sync=line test-packages test-validated
	@$(MAKE) test-processes

.PHONY: test-packages
test-packages: redis tmux ## Of these, all but those of e2e
	go vet ./... && go vet -tags planted ./workers ./producer ./streams ./payments/simulator ./payments/stripe ./archive ./streams/audit ./webhooks
	go test -timeout 10m $(UNITS)
	go test -timeout 10m -tags planted -run Planted -parallel 6 ./workers ./producer ./streams ./payments/simulator ./payments/stripe ./archive ./streams/audit ./webhooks
	cd bench && go vet ./... && go test ./report

.PHONY: test-validated
test-validated: redis prometheus chromium systemd-analyze ## Of these, what is validated: deployments, the API's document, archives, pages
	cd e2e/deployments && go vet ./... && go test -timeout 10m -count 1 ./...
	cd e2e/stripe && go vet ./... && go test -timeout 10m -count 1 ./...
	cd e2e/archive && go vet ./... && go test -timeout 10m -count 1 ./... # with Node, DuckDB too
	go test -timeout 10m -count 1 ./e2e/openapi # with Node
	go test -timeout 10m -count 1 ./e2e/console # with Node and Chromium

.PHONY: test-processes
test-processes: redis ## Of these, the processes, and the network
	go test -timeout 10m -count 1 ./e2e # runs the program (the client for TypeScript and the recipe for Node, too), on which Go's cache of results does not know it depends
	cd e2e/network && go vet ./... && go test -timeout 10m -count 1 ./...

.PHONY: test-chart
test-chart: ## Have Helm lint and render the chart, kustomize Redis, and build the image's binary: minutes, the first time
	cd e2e/chart && go vet ./... && go test -timeout 10m -count 1 ./...

.PHONY: test-servers
test-servers: ## Run a slice of the tests on Redis 7.0 and 8.0, Valkey 8.0 and 8.1, fetched from Debian. SERVERS="redis-8.0" for some
	@scripts/test-servers.sh

.PHONY: chart
chart: ## Keep what the chart renders now, for make test
	cd e2e/chart && go test -count 1 -run Rendered . -update

.PHONY: test-race
test-race: redis cc ## The same under the race detector, but for the processes of e2e (installs a C compiler if there is none)
	CGO_ENABLED=1 go test -race -timeout 20m $$(go list $(UNITS) | grep -v '^holdfast/cmd/')
	CGO_ENABLED=1 go test -race -timeout 20m -run 'Worker|Dev$$|Demo|API|Staff|Signals|TrimmedLog|ForgetEvent' ./cmd/holdfast # those whose parts run at the same time

.PHONY: rehearse
rehearse: redis prometheus ## Let each incident of the operations manual happen, with the alerts as they are: half an hour. REHEARSE=short for minutes
	cd e2e/deployments && REHEARSE=$${REHEARSE:-shipped} go test -v -count 1 -parallel 16 -timeout 2h -run 'TestRehearseIncidents$$' .

.PHONY: pictures
pictures: redis prometheus tmux rsvg ## Draw docs/top.png and docs/dashboard.png anew, of a sale of some minutes
	cd e2e/deployments && PICTURES=1 go test -count 1 -timeout 20m -run 'TestPictures$$' .

.PHONY: torture
torture: redis ## Prove the invariants in full: within two hours on two cores. SEED=N repeats a run
	@scripts/torture.sh

.PHONY: soak
soak: redis ## An hour of steady load, in which nothing may grow but the books; with an archive, but the invoices. HOLDFAST_SOAK=15m for less
	HOLDFAST_TORTURE=1 HOLDFAST_SOAK=$${HOLDFAST_SOAK:-1h} go test -v -count 1 -timeout 3h -run 'TestTortureSoak' ./e2e

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## Run the linters
	$(TOOLS)/golangci-lint run ./...
	cd e2e/network && $(TOOLS)/golangci-lint run ./...
	cd e2e/deployments && $(TOOLS)/golangci-lint run ./...
	cd e2e/stripe && $(TOOLS)/golangci-lint run ./...
	cd e2e/archive && $(TOOLS)/golangci-lint run ./...
	cd e2e/chart && $(TOOLS)/golangci-lint run ./...

.PHONY: vuln
vuln: $(TOOLS)/govulncheck ## Look for known vulnerabilities in what the program calls
	@scripts/vuln.sh $(TOOLS)/govulncheck

# One run of benchmarks. What fails in it, the report finds in its output.
GOBENCH := go test -run '^$$' -benchtime 1x -timeout 3h

.PHONY: bench
bench: redis ## Measure holdfast and print goal and figure side by side, in under ten minutes
	cd bench && { \
		$(GOBENCH) -count 3 -bench 'Drain/system=holdfast$$|SoldOut|Paced/system=holdfast$$/rate=5000$$|Paced/system=holdfast$$/rate=2000$$/workers=2|Publish|Floor' . && \
		$(GOBENCH) -bench Idle . ; } | tee bench.out && go run ./report bench.out

.PHONY: bench-http
bench-http: redis ## Load the API: orders without and with a wait, and what is left of an event; 10,000 streams of updates. In some minutes
	cd bench && $(GOBENCH) -count 3 -bench HTTP .

.PHONY: bench-restore
bench-restore: redis ## Restore an archive of 1,000,000 orders, from a snapshot and from its start: facts a second, memory. ORDERS=N for others
	$(GOBENCH) -bench Restore ./e2e -archived $(or $(ORDERS),1000000)

.PHONY: bench-full
bench-full: redis ## The same with 10,000,000 orders, overload and the peers, and draw the chart: some two hours
	cd bench && { \
		for run in 1 2 3 4 5; do $(GOBENCH) -bench 'Drain|SoldOut|Publish|Floor' . || exit 1; done && \
		for run in 1 2 3; do $(GOBENCH) -bench Paced . || exit 1; done && \
		$(GOBENCH) -bench 'Idle|Overload|Growth' . ; } | tee full.out && go run ./report -chart ../docs/performance.svg full.out

.PHONY: bench-compare
bench-compare: redis $(TOOLS)/benchstat ## Compare with a revision in alternating runs: BASE=main. RUNS=6, BENCH=regexp
	@bench/compare.sh "$(BASE)" $(TOOLS)/benchstat

.PHONY: fuzz
fuzz: redis ## Fuzz every decoder for FUZZTIME each (default 1m), FUZZJOBS at a time, and keep what was found as seeds
	@FUZZTIME=$(FUZZTIME) FUZZJOBS=$(FUZZJOBS) scripts/fuzz.sh

.PHONY: redis
redis:
	@scripts/install-redis.sh

.PHONY: prometheus
prometheus:
	@scripts/install-prometheus.sh

.PHONY: tmux
tmux:
	@scripts/install-tmux.sh

.PHONY: chromium
chromium:
	@scripts/install-chromium.sh

.PHONY: systemd-analyze
systemd-analyze:
	@scripts/install-systemd-analyze.sh

.PHONY: rsvg
rsvg:
	@scripts/install-rsvg.sh

.PHONY: cc
cc:
	@scripts/install-cc.sh

$(TOOLS)/golangci-lint:
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)

$(TOOLS)/govulncheck:
	GOBIN=$(TOOLS) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)

$(TOOLS)/benchstat:
	GOBIN=$(TOOLS) go install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION)
