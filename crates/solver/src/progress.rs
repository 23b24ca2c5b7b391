//! What a build tells whoever watches it.

use std::time::Duration;

use carrack_llb::Graph;
use carrack_oci::Digest;

/// Which output a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Error,
}

/// Something that happened. Events of one vertex come in order; those of others come between them.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<'a> {
    /// The graph is known: all vertices, by index.
    Planned {
        /// As shown to people: `[build 2/5] RUN make`.
        names: Vec<&'a str>,
        /// Of each the indexes of those that it begins with or takes from, each once.
        inputs: Vec<Vec<usize>>,
    },
    /// Work on a vertex begins.
    Started {
        /// Its index.
        vertex: usize,
    },
    /// What a program writes, in pieces as it writes them.
    Output {
        /// Of whose program.
        vertex: usize,
        /// Where it writes.
        stream: Stream,
        /// Not always whole lines, nor always UTF-8.
        bytes: &'a [u8],
    },
    /// A vertex is done.
    Done {
        /// Its index.
        vertex: usize,
        /// Whether its result was there already.
        is_cached: bool,
        /// How long it took.
        duration: Duration,
    },
    /// Somebody gets a shell: nothing else is to be written to the terminal until it is closed.
    ShellOpened {
        /// Where.
        vertex: usize,
        /// The program, and its arguments.
        program: &'a [String],
        /// Whether it shows what a failed step has left.
        has_failed: bool,
    },
    /// The shell has ended.
    ShellClosed,
    /// A vertex failed; the build's diagnostics say why.
    Failed {
        /// Its index.
        vertex: usize,
        /// How long it took.
        duration: Duration,
    },
    /// How much of the context is used.
    Context {
        /// Files and folders.
        entries: u64,
        /// Content of files, in bytes.
        size_bytes: u64,
    },
    /// The image is in the store.
    Image {
        /// Its id.
        id: Digest,
    },
}

impl<'a> Event<'a> {
    pub(crate) fn planned(graph: &'a Graph) -> Self {
        let names = graph.vertices.iter().map(|vertex| vertex.name.as_str()).collect();
        let inputs = graph.vertices.iter().map(|vertex| {
            let mut inputs: Vec<usize> = Vec::new();
            for edge in &vertex.inputs {
                if !inputs.contains(&edge.vertex.0) {
                    inputs.push(edge.vertex.0);
                }
            }
            inputs
        });
        Self::Planned { names, inputs: inputs.collect() }
    }
}

/// Receives the events of a build, from several threads.
pub trait Progress: Sync {
    /// Must not block for long: the step that it is about waits.
    fn event(&self, event: Event<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: Event<'_>) {}
}
