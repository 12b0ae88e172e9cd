//! The static scan over 1,200 files with 400,000 lines, on two threads, against the interpreter's own
//! `ast.parse` over the same files in one process.
//!
//! The sources are those of the packages of the tests' virtual environment, copied once and then with
//! their identifiers varied until there are enough; no file is copied unchanged twice. Budget: 1.5 s.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ubs::testing::scan;

#[path = "../tests/it/support/venv.rs"]
mod venv;

const FILES: usize = 1_200;
const LINES: usize = 400_000;
const BUDGET: Duration = Duration::from_millis(1_500);
const ROUNDS: usize = 5;
/// Smaller files are `__init__.py` with a few names.
const LINES_MIN: usize = 40;
const LINES_MAX: usize = 2_000;

fn main() -> ExitCode {
    let Some(python) = venv::application_python() else {
        return ExitCode::SUCCESS;
    };
    let tree = match make_tree(&python) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("no tree to scan: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut best = Duration::MAX;
    let mut worst = Duration::ZERO;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let facts = scan(&tree, 2);
        let took = begun.elapsed();
        best = best.min(took);
        worst = worst.max(took);
        assert_eq!(facts.files, FILES, "every file is read");
        if best == took {
            println!(
                "{} files, {} lines: {} imports, {} reads of variables, {} syntax errors, {:.3} s",
                facts.files,
                facts.lines,
                facts.imports,
                facts.env_reads,
                facts.syntax_errors,
                took.as_secs_f64(),
            );
        }
    }
    println!(
        "scan, two threads: best {best:.2?}, worst {worst:.2?} of {ROUNDS}; budget {BUDGET:.2?}"
    );
    match reference(&python, &tree) {
        Ok(took) => println!(
            "reference, ast.parse in one process: {took:.2?}, {:.1} times as long",
            took.as_secs_f64() / best.as_secs_f64()
        ),
        Err(error) => eprintln!("no reference: {error}"),
    }
    if worst > BUDGET {
        eprintln!("over budget");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Seconds that the interpreter says it took, without its own start.
fn reference(python: &Path, tree: &Path) -> Result<Duration, String> {
    let program = "import ast, pathlib, sys, time\n\
        files = sorted(pathlib.Path(sys.argv[1]).rglob('*.py'))\n\
        begun = time.perf_counter()\n\
        for file in files:\n    ast.parse(file.read_bytes())\n\
        print(time.perf_counter() - begun)\n";
    let output = Command::new(python)
        .args(["-W", "ignore", "-c", program])
        .arg(tree)
        .output()
        .map_err(|e| e.to_string())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let seconds: f64 = said
        .trim()
        .parse()
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok(Duration::from_secs_f64(seconds))
}

/// A tree in the target directory, made anew.
fn make_tree(python: &Path) -> Result<PathBuf, String> {
    let said = |e: std::io::Error| e.to_string();
    let home = python
        .parent()
        .and_then(Path::parent)
        .ok_or("an odd interpreter")?;
    let tree = home
        .parent()
        .and_then(Path::parent)
        .ok_or("an odd target directory")?
        .join("bench-scan");
    let _ = std::fs::remove_dir_all(&tree);
    let mut sources = Vec::new();
    collect(&home.join("lib"), &mut sources).map_err(said)?;
    sources.sort();
    let texts: Vec<(String, usize)> = sources
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|text| {
            let lines = text.lines().count();
            (text, lines)
        })
        .filter(|(_, lines)| (LINES_MIN..=LINES_MAX).contains(lines))
        .collect();
    if texts.is_empty() {
        return Err("the environment has no sources".to_owned());
    }
    let mut made = 0;
    let mut lines = 0;
    let mut taken = 0;
    while made < FILES {
        let (text, count) = &texts[taken % texts.len()];
        let turn = taken / texts.len();
        taken += 1;
        // Kept on the way to the wanted total: small files where it runs ahead, large where behind.
        let wanted = LINES * (made + 1) / FILES;
        let is_ahead = lines > wanted;
        let is_small = *count < LINES / FILES;
        if is_ahead != is_small && taken < 100 * FILES {
            continue;
        }
        let directory = tree.join(format!("part{}", made % 40));
        std::fs::create_dir_all(&directory).map_err(said)?;
        let text = vary(text, turn, made);
        std::fs::write(directory.join(format!("m{made}.py")), text).map_err(said)?;
        made += 1;
        lines += count;
    }
    Ok(tree)
}

/// Other names in each copy, and a read of a variable of its own.
fn vary(text: &str, turn: usize, number: usize) -> String {
    let mut varied = text.replace("self.", &format!("self.v{turn}_"));
    varied.push_str(&format!(
        "\nimport os\nV{number} = os.environ.get('V{number}', '{turn}')\n"
    ));
    varied
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), into)?;
        } else if kind.is_file() && entry.path().extension().is_some_and(|end| end == "py") {
            into.push(entry.path());
        }
    }
    Ok(())
}
