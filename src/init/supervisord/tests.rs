use super::*;

fn read_files(contents: &[(&str, &str)]) -> Units {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in contents {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    read(&Files::of(dir.path()), contents[0].0)
}

fn unit<'u>(units: &'u Units, name: &str) -> &'u Unit {
    units.units.iter().find(|unit| unit.name == name).unwrap()
}

/// As an image with a web server, two kinds of workers and a beat has it.
const IMAGE: &str = r#"
[supervisord]
nodaemon=true
logfile=/dev/null ; not kept
environment=DJANGO_SETTINGS_MODULE="shop.settings"

[unix_http_server]
file=/run/supervisor.sock

[program:migrate]
command=python manage.py migrate --noinput
autostart=true
autorestart=false
startsecs=0
priority=10
exitcodes=0

[program:web]
command=gunicorn shop.wsgi:application
    --bind 0.0.0.0:%(ENV_WEB_PORT)s
    --access-logformat '%%(h)s cost $1'
directory=%(here)s/app
priority=20
autorestart=true
startsecs=5
startretries=7
stopsignal=QUIT
stopwaitsecs=30
stopasgroup=true
umask=27
environment=LANG="C.UTF-8",SECRET_KEY="hunter22",NAME=%(program_name)s
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0

[program:worker]
command=python worker.py --id %(process_num)d
process_name=%(program_name)s_%(process_num)02d
numprocs=2
priority=20
exitcodes=0,2
autostart=false

[group:all]
programs=web,worker

[eventlistener:watch]
command=python watch.py
events=PROCESS_STATE

[include]
files = conf.d/*.conf /etc/supervisor/conf.d/*.conf
"#;

#[test]
fn programs_become_services_and_the_rest_is_named() {
    let units = read_files(&[
        ("supervisord.conf", IMAGE),
        (
            "conf.d/beat.conf",
            "[program:beat]\ncommand=celery -A shop beat\nnice=5\n",
        ),
        ("app/x", ""),
    ]);
    let names: Vec<&str> = units.units.iter().map(|unit| unit.name.as_str()).collect();
    assert_eq!(names, ["migrate", "web", "worker_00", "worker_01", "beat"]);
    let web = unit(&units, "web");
    assert_eq!(
        web.run[1..],
        [
            "shop.wsgi:application",
            "--bind",
            "0.0.0.0:${WEB_PORT}",
            "--access-logformat",
            "%(h)s cost $$1"
        ]
    );
    assert_eq!(web.cwd.as_deref(), Some("app"));
    assert_eq!((web.restart, web.restart_max), (Some("always"), Some(7)));
    assert_eq!(web.min_uptime_ms, Some(5000));
    assert_eq!(
        (web.stop_signal.as_deref(), web.stop_timeout_ms),
        (Some("QUIT"), Some(30_000))
    );
    assert_eq!(web.umask.as_deref(), Some("027"));
    let env: Vec<&str> = web.env.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(env, ["DJANGO_SETTINGS_MODULE", "LANG", "NAME"]);
    assert_eq!(web.needs, [("migrate".to_owned(), "started")]);
    assert_eq!(web.left, ["stdout_logfile", "stdout_logfile_maxbytes"]);
    assert_eq!(unit(&units, "migrate").success, [0]);
    let second = unit(&units, "worker_01");
    assert!(second.disabled && second.success == [0, 2]);
    assert_eq!(second.run.last().unwrap(), "1");
    let beat = unit(&units, "beat");
    assert_eq!(
        (beat.origin.as_str(), &beat.left[..]),
        ("conf.d/beat.conf:1", &["nice".to_owned()][..])
    );
    // What waits for a disabled one would wait for ever.
    assert_eq!(beat.needs, [("web".to_owned(), "started")]);
    for key in [
        "[supervisord] nodaemon",
        "[supervisord] logfile",
        "[unix_http_server] file",
        "[eventlistener:watch] command",
    ] {
        assert!(
            units.left.iter().any(|left| left == key),
            "{key}: {:?}",
            units.left
        );
    }
    let notes: String = units.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(notes.contains("eventlistener watch") && notes.contains("/etc/supervisor/conf.d"));
    assert!(
        units
            .references
            .iter()
            .any(|found| found.name == "WEB_PORT")
    );
    assert!(!format!("{units:?}").contains("hunter22"));
}

#[test]
fn what_cannot_be_read_is_named() {
    let units = read_files(&[(
        "supervisord.conf",
        "stray\n[program:a]\ncommand=run %(unknown)s\nstartsecs=soon\nautorestart=sometimes\nautostart=maybe\nstopsignal=NOPE\nno value\n[program:b]\ncommand=\"\n",
    )]);
    let first = unit(&units, "a");
    assert_eq!(
        first.left,
        [
            "command",
            "startsecs",
            "autorestart",
            "autostart",
            "stopsignal"
        ]
    );
    assert_eq!(unit(&units, "b").left, ["command"]);
    let notes: String = units.notes.iter().map(|note| note.text.as_str()).collect();
    assert!(
        notes.contains("stray") && notes.contains("no value"),
        "{notes}"
    );
}

#[test]
fn what_is_relative_to_the_file_stays_so_in_another_directory() {
    let units = read_files(&[
        (
            "supervisord.conf",
            "[supervisord]\ndirectory=%(here)s/run\n[program:a]\ncommand=%(here)s/a.sh\n\
             [program:b]\ncommand=%(here)s/b.sh\ndirectory=%(here)s\n",
        ),
        ("run/x", ""),
    ]);
    let first = unit(&units, "a");
    assert_eq!(first.cwd.as_deref(), Some("run"));
    assert!(
        first.run[0].starts_with('/') && first.run[0].ends_with("/a.sh"),
        "{:?}",
        first.run
    );
    assert_eq!(
        (unit(&units, "b").cwd.as_deref(), &unit(&units, "b").run[..]),
        (None, &["./b.sh".to_owned()][..])
    );
    assert_eq!(units.left, [""; 0]);
}
