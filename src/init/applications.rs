//! Applications that are installed and do not lie in the workspace: how they are started, and where they say how they
//! are.

use super::draft::{Note, Unit};
use super::files::Files;

/// An application that people install and configure.
struct InstalledApplication {
    /// Its distribution, as requirements name it.
    package: &'static str,
    /// Its program.
    tool: &'static str,
    /// The command without the option of the port.
    run: &'static str,
    port_option: &'static str,
    port: &'static str,
    /// Where it says how it is.
    health: &'static str,
}

const APPLICATIONS: [InstalledApplication; 5] = [
    InstalledApplication {
        package: "apache-superset",
        tool: "superset",
        run: "superset run --host 127.0.0.1",
        port_option: "--port",
        port: "8088",
        health: "/health",
    },
    InstalledApplication {
        package: "zenml",
        tool: "zenml",
        run: "uvicorn zenml.zen_server.zen_server_api:app --host 127.0.0.1",
        port_option: "--port",
        port: "8080",
        health: "/health",
    },
    InstalledApplication {
        package: "litellm",
        tool: "litellm",
        run: "litellm --host 127.0.0.1",
        port_option: "--port",
        port: "4000",
        health: "/health/liveliness",
    },
    InstalledApplication {
        package: "jupyterhub",
        tool: "jupyterhub",
        run: "jupyterhub --ip 127.0.0.1",
        port_option: "--port",
        port: "8000",
        health: "/hub/health",
    },
    InstalledApplication {
        package: "datasette",
        tool: "datasette",
        run: "datasette serve --host 127.0.0.1",
        port_option: "--port",
        port: "8001",
        health: "/-/versions.json",
    },
];
/// Databases that one command names.
const DATABASES_MAX: usize = 20;

/// The service of the application that the requirements name, where no file and no source says what runs.
pub(super) fn unit_of(files: &Files, packages: &str) -> Option<Unit> {
    let is_named = |package: &str| {
        packages.lines().any(|line| {
            let line = line.trim().trim_start_matches(['"', '\'']);
            let rest = line.strip_prefix(package);
            rest.is_some_and(|rest| {
                !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_.".contains(c))
            })
        })
    };
    let found = APPLICATIONS.iter().find(|known| is_named(known.package))?;
    let mut run: Vec<String> = found.run.split(' ').map(str::to_owned).collect();
    run.extend([found.port_option.to_owned(), found.port.to_owned()]);
    match found.tool {
        "litellm" => {
            let config = files.first(&["config.yaml", "litellm_config.yaml", "litellm.yaml"]);
            run.extend(
                config
                    .into_iter()
                    .flat_map(|file| ["--config".to_owned(), file.to_owned()]),
            );
        }
        "datasette" => run.extend(databases(files)),
        _ => {}
    }
    Some(Unit {
        name: found.tool.to_owned(),
        run,
        port: Some(found.port.to_owned()),
        notes: vec![Note::unsure(format!(
            "{} is in the requirements, and nothing else here says what runs",
            found.package
        ))],
        ..Unit::default()
    })
}

fn databases(files: &Files) -> Vec<String> {
    let entries = std::fs::read_dir(files.root())
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            !name.starts_with(['-', '.']) && (name.ends_with(".db") || name.ends_with(".sqlite"))
        })
        .map(|name| super::carry::literal(&name))
        .collect();
    names.sort();
    names.truncate(DATABASES_MAX);
    names
}

/// The path under which the application that a command starts says how it is.
pub(super) fn health_of(run: &[String], tool: &str) -> Option<&'static str> {
    let found = APPLICATIONS.iter().find(|known| {
        known.tool == tool
            || run
                .iter()
                .any(|word| word.starts_with("zenml.zen_server") && known.tool == "zenml")
    });
    found.map(|known| known.health)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_application_is_known_by_the_requirements() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.db"), "").unwrap();
        let files = Files::of(dir.path());
        let unit = unit_of(&files, "sqlite-utils\ndatasette>=0.64\n").unwrap();
        assert_eq!(unit.run.last().unwrap(), "a.db");
        assert_eq!(health_of(&unit.run, "datasette"), Some("/-/versions.json"));
        assert!(unit_of(&files, "datasette-auth\nnot-litellm\n").is_none());
        let zenml = unit_of(&files, "zenml[server]==0.70\n").unwrap();
        assert_eq!(health_of(&zenml.run, "uvicorn"), Some("/health"));
    }
}
