//! Plain lines, as BuildKit's: `#3 [build 2/5] RUN make`, its output, how it ended.

use std::time::Instant;

use carrack_engine::build::Event;

use super::Build;
use crate::output::note;

pub(super) fn event(build: &mut Build, event: &Event<'_>, began: Instant) {
    let label = build.label.as_ref().map(|label| format!("{label} ")).unwrap_or_default();
    let line = |vertex: usize, text: &str| note(&format!("{label}#{} {text}\n", vertex + 1));
    let seconds = began.elapsed().as_secs_f64();
    match event {
        Event::Started { vertex } => line(*vertex, &build.steps[*vertex].name),
        Event::Output { vertex, bytes, .. } => {
            for text in build.steps[*vertex].lines(bytes) {
                line(*vertex, &format!("{seconds:.3} {text}"));
            }
        }
        Event::Done { vertex, is_cached, duration } => {
            let step = &mut build.steps[*vertex];
            if !step.partial.is_empty() {
                step.lines(b"\n").iter().for_each(|text| line(*vertex, &format!("{seconds:.3} {text}")));
            }
            match is_cached {
                true => line(*vertex, "CACHED"),
                false => line(*vertex, &format!("DONE {:.1}s", duration.as_secs_f64())),
            }
        }
        Event::Failed { vertex, duration } => {
            line(*vertex, &format!("FAILED after {:.1}s", duration.as_secs_f64()));
        }
        _ => {}
    }
}
