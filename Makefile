# The commands of the README. `make` alone lists them.
.DEFAULT_GOAL := help

.PHONY: help build demo test faults simulate fuzz bench install

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

build: ## build the one binary
	cargo build --locked -p downbeat

demo: ## run the main job with the embedded database: an audit of this source tree
	cargo run --locked -p downbeat -- demo

test: ## install what the tests need and pass all of them
	scripts/postgres
	scripts/faketime >/dev/null
	cargo test --locked --workspace

faults: ## every fault under a steady load, long: make faults ROUNDS=10 FAULT='disk full'
	scripts/postgres
	scripts/faketime >/dev/null
	ROUNDS=$(or $(ROUNDS),3) FAULT='$(FAULT)' cargo test --locked -p downbeat-tests --test faults under_a_steady_load -- --nocapture

simulate: ## the simulation, long: make simulate SEEDS=100000
	SEEDS=$(or $(SEEDS),20000) cargo test --locked --release -p downbeat-tests --test simulation -- --nocapture

fuzz: ## look for inputs that break the parsers, plans, rules and sessions: make fuzz SECONDS=600
	scripts/fuzz $(or $(SECONDS),60)

bench: ## every workload beside the bare database: make bench ARGS='--workload fanout --engine postgres'
	scripts/postgres
	cargo build --locked --release -p downbeat -p downbeat-bench
	target/release/downbeat-bench $(ARGS)

install: ## put the binary into cargo's bin directory
	cargo install --locked --path cli
