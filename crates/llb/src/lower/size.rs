//! How much a Dockerfile may become: a short one can say a great deal, since every stage and every RUN has its variables.

use carrack_diag::{Diagnostic, Span};

use super::Lowering;
use super::stage::Stage;
use crate::codes;
use crate::graph::{Action, Op, Vertex};

/// Of all stages and steps together. Hundreds of steps with a large environment take a hundredth of it.
const LIMIT_BYTES: usize = 128 << 20;

/// What an instruction takes beside its texts.
const INSTRUCTION_BYTES: usize = 1 << 10;

impl Lowering<'_> {
    /// Notes what has come to be at `span`. The first that is too much is an error.
    pub(super) fn grow(&mut self, bytes: usize, span: Span) {
        let was_too_large = self.is_too_large();
        self.size_bytes = self.size_bytes.saturating_add(bytes).saturating_add(INSTRUCTION_BYTES);
        if self.is_too_large() && !was_too_large {
            self.diagnostics.push(
                Diagnostic::error(&codes::TOO_LARGE, "the Dockerfile becomes too large")
                    .at(span, format!("with this, what it says takes more than {} MiB", LIMIT_BYTES >> 20))
                    .hint("shorten the variables: every step and every stage below has them all"),
            );
        }
    }

    pub(super) fn is_too_large(&self) -> bool {
        self.size_bytes > LIMIT_BYTES
    }

    /// The vertices from `first` on, in bytes.
    pub(super) fn vertices_bytes(&self, first: usize) -> usize {
        self.vertices.get(first..).unwrap_or_default().iter().map(vertex_bytes).sum()
    }
}

impl Stage {
    /// What a stage on top of this one has from the beginning, in bytes.
    pub(super) fn inherited_bytes(&self) -> usize {
        let scope = &self.scope;
        let environment = scope.environment.iter().map(|(name, value)| name.len() + value.len());
        let arguments = scope.arguments.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
        let config = serde_json::to_vec(&self.image).map_or(0, |text| text.len());
        config + environment.chain(arguments).sum::<usize>()
    }

    /// The history from the entry `first` on, in bytes.
    pub(super) fn history_bytes(&self, first: usize) -> usize {
        let steps = self.history.get(first..).unwrap_or_default();
        steps.iter().map(|step| step.entry.created_by.as_ref().map_or(0, String::len)).sum()
    }
}

fn vertex_bytes(vertex: &Vertex) -> usize {
    let texts = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
    let op = match &vertex.op {
        Op::Exec(exec) => texts(&exec.arguments) + texts(&exec.environment) + texts(&exec.proxy_environment),
        Op::File(actions) => actions.iter().map(action_bytes).sum(),
        Op::Source(_) | Op::Merge => 0,
    };
    op + vertex.name.len()
}

fn action_bytes(action: &Action) -> usize {
    match action {
        Action::MakeFolder { path, .. } => path.len(),
        Action::MakeFile(file) => file.content.len() + file.destination.len(),
        Action::Copy(copy) => copy.source.len() + copy.destination.len(),
    }
}
