//! A pre-flight of a real application (FastAPI and SQLAlchemy, two layers) against the bare import of its
//! slowest layer, taken in turn in one run.
//!
//! `cargo bench --bench rehearsal`. Prints the best and the median of several rounds of each. The best
//! counts: the rest of it is what else the machine did.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "../tests/it/support/venv.rs"]
mod venv;

const ROUNDS: usize = 15;

const MODELS: &str = "\
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = \"items\"
    id: Mapped[int] = mapped_column(primary_key=True)
";

const MAIN: &str = "\
from fastapi import FastAPI

import models

app = FastAPI()


@app.get(\"/items\")
def items():
    return []
";

const LAYERS: &str = "
[[layer]]
name = \"data\"
rehearse = { imports = [\"models\"] }

[[layer]]
name = \"api\"
after = [\"data\"]
rehearse = { imports = [\"main\"] }
";

const CHECKS: &str = "
[[schema]]
name = \"main\"
database = \"sqlite:///app.db\"
expect = \"sqlalchemy:models:Base\"

[registration]
app = \"fastapi:main:app\"
services = [{ name = \"items\", prefix = \"/items\" }]
";

fn main() {
    // `cargo test --benches` calls this too: one round shows that it works.
    let testing = !std::env::args().any(|argument| argument == "--bench");
    let rounds = if testing { 1 } else { ROUNDS };
    let Some(python) = venv::application_python() else {
        return;
    };
    let workspace = tempfile::tempdir().expect("a directory");
    let root = workspace.path();
    let write = |name: &str, text: String| std::fs::write(root.join(name), text).expect("a file");
    let head = format!(
        "[app]\nname = \"bench\"\n\n[python]\ninterpreter = \"{}\"\n",
        python.display()
    );
    write("models.py", MODELS.to_owned());
    write("main.py", MAIN.to_owned());
    write("layers.toml", format!("{head}{LAYERS}"));
    write("ubs.toml", format!("{head}{CHECKS}{LAYERS}"));
    let database = rusqlite::Connection::open(root.join("app.db")).expect("a database");
    database
        .execute_batch("CREATE TABLE items (id INTEGER NOT NULL, PRIMARY KEY (id))")
        .expect("a table");
    drop(database);

    let ubs = env!("CARGO_BIN_EXE_ubs");
    let (mut bare, mut layers, mut total) = (vec![], vec![], vec![]);
    for _ in 0..=rounds {
        bare.push(time(
            root,
            python.to_str().expect("text"),
            &["-c", "import main"],
        ));
        layers.push(time(
            root,
            ubs,
            &[
                "--manifest",
                "layers.toml",
                "preflight",
                "--only",
                "rehearsal",
            ],
        ));
        total.push(time(root, ubs, &["preflight"]));
    }
    // The first round reads everything from the disk and compiles.
    for times in [&mut bare, &mut layers, &mut total] {
        times.remove(0);
        times.sort();
    }
    println!("two layers of FastAPI and SQLAlchemy, best (median) of {rounds} rounds:");
    show("bare import of the slowest layer", &bare);
    show("ubs preflight --only rehearsal", &layers);
    show("ubs preflight, all checks", &total);
    let best = bare[0].as_secs_f64();
    println!(
        "  rehearsal / bare                  {:>8.2}   (at most 1.25)",
        layers[0].as_secs_f64() / best
    );
    println!(
        "  all checks                        {:>8.1} ms (at most {:.1}: 1.3 x bare + 150)",
        ms(total[0]),
        1.3 * ms(bare[0]) + 150.0
    );
}

fn show(what: &str, times: &[Duration]) {
    println!(
        "  {what:<33} {:>8.1} ms ({:.1})",
        ms(times[0]),
        ms(times[times.len() / 2])
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn time(root: &Path, program: &str, arguments: &[&str]) -> Duration {
    let begun = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("it runs");
    let time = begun.elapsed();
    assert!(status.success(), "{program} {arguments:?}: {status}");
    time
}
