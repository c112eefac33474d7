//! The languages that a handler can be begun in.

/// What a new handler is written in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Rust, built by cargo
    #[default]
    Rust,
    /// JavaScript, built by componentize-js from npm
    #[value(name = "javascript")]
    JavaScript,
    /// Python, built by componentize-py from PyPI
    Python,
    /// C, built by Zig's C compiler or clang, and wasm-tools
    C,
}

/// The path of a file, and its text.
type Template = (&'static str, &'static str);

const JAVASCRIPT: &[Template] = &[
    (".gitignore", "/node_modules\n/build.wasm\n"),
    ("README.md", include_str!("../../templates/handler-javascript/README.md")),
    ("handler.js", include_str!("../../templates/handler-javascript/handler.js")),
    ("handler.test.js", include_str!("../../templates/handler-javascript/handler.test.js")),
    ("package.json", include_str!("../../templates/handler-javascript/package.json")),
    ("tidegate.d.ts", include_str!("../../templates/handler-javascript/tidegate.d.ts")),
];

const PYTHON: &[Template] = &[
    (".gitignore", "/.venv\n/bindings\n/build.wasm\n__pycache__\n"),
    ("Makefile", include_str!("../../templates/handler-python/Makefile")),
    ("README.md", include_str!("../../templates/handler-python/README.md")),
    ("requirements.txt", include_str!("../../templates/handler-python/requirements.txt")),
    ("src/app.py", include_str!("../../templates/handler-python/src/app.py")),
    ("tests/test_app.py", include_str!("../../templates/handler-python/tests/test_app.py")),
];

const C: &[Template] = &[
    (".gitignore", "/.venv\n/build\n"),
    ("Makefile", include_str!("../../templates/handler-c/Makefile")),
    ("README.md", include_str!("../../templates/handler-c/README.md")),
    ("handler.c", include_str!("../../templates/handler-c/handler.c")),
    ("test.c", include_str!("../../templates/handler-c/test.c")),
    ("bindings/worker.c", include_str!("../../templates/handler-c/bindings/worker.c")),
    ("bindings/worker.h", include_str!("../../templates/handler-c/bindings/worker.h")),
];

/// The contract as an object file, which wit-bindgen writes beside the C code.
const C_OBJECTS: &[(&str, &[u8])] = &[(
    "bindings/worker_component_type.o",
    include_bytes!("../../templates/handler-c/bindings/worker_component_type.o"),
)];

impl Language {
    /// The files of a handler; none for Rust, whose crates are the scaffold's own.
    pub(super) fn templates(self) -> Option<&'static [Template]> {
        match self {
            Self::Rust => None,
            Self::JavaScript => Some(JAVASCRIPT),
            Self::Python => Some(PYTHON),
            Self::C => Some(C),
        }
    }

    /// Those of its files that are no text.
    pub(super) fn binaries(self) -> &'static [(&'static str, &'static [u8])] {
        if self == Self::C { C_OBJECTS } else { &[] }
    }

    /// The commands that build a handler in its directory; none for Rust, where they depend on the name.
    pub fn build(self) -> Option<&'static str> {
        match self {
            Self::Rust => None,
            Self::JavaScript => Some("npm install && npm run build"),
            Self::Python => Some("pip install -r requirements.txt && make build"),
            Self::C => Some("make build"),
        }
    }
}
