# make           this list
.DEFAULT_GOAL := help
.PHONY: help build demo demo-down images test test-v2 kill soak fuzz bench check

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: ## bring examples/shop up from source and prove what carrack promises; prints its address
	@scripts/demo up

demo-down: ## take the demo away without a trace
	@scripts/demo down

images: build ## build, run and question examples/images: Python, Node, static, nginx, Redis, PostgreSQL
	@scripts/images

test: ## every test that this machine can run, and a list of what it could not
	@scripts/test

build: ## the static release binary, target/release/carrack
	@scripts/build

check: ## formatting, clippy, tidy
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --quiet -- -D warnings
	@cargo xtask tidy

test-v2: ## the tests of containers on cgroup version 2, with systemd, AppArmor, firewalls and reboots, in a virtual machine (long)
	@scripts/test-v2

kill: ## kill, fail and delay at every step of plans and container starts (long)
	@scripts/kill

soak: ## random lives of 500 containers for ten minutes, and what they leave (SOAK_SECONDS, SOAK_SEED)
	@scripts/soak

fuzz: ## feed mutations to all that reads what strangers write, a minute each (FUZZ_SECONDS)
	@scripts/fuzz

bench: ## measure against Docker and Podman (BENCH_DOCKER, BENCH_PODMAN, or the path)
	@scripts/bench
