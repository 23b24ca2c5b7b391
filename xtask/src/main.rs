//! Tasks of the project that are no part of the product: `cargo xtask tidy` reads the source tree for the rules that
//! neither compiler nor clippy know.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod direction;
mod tidy;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its product")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments != ["tidy"] {
        eprintln!("usage: cargo xtask tidy");
        return ExitCode::from(2);
    }
    match faults(&root()) {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            for fault in &faults {
                println!("{fault}");
            }
            println!("{} faults", faults.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Everything that the tree does wrong, one line each.
fn faults(root: &Path) -> Result<Vec<String>, String> {
    let mut faults = direction::faults(&direction::packages(root)?);
    faults.extend(tidy::faults(root)?);
    Ok(faults)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tree_is_tidy() {
        assert_eq!(super::faults(&super::root()), Ok(vec![]));
    }
}
