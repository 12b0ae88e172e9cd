use super::*;

fn read_files(contents: &[(&str, &str)]) -> Units {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in contents {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let files = Files::of(dir.path());
    read(&files, &units_of(&files))
}

fn unit<'u>(units: &'u Units, name: &str) -> &'u Unit {
    units.units.iter().find(|unit| unit.name == name).unwrap()
}

/// As a Django application's deployment has it.
const WEB: &str = r#"
[Unit]
Description=Shop, web
After=network.target postgresql.service shop-queue.service
Requires=shop-queue.service
StartLimitIntervalSec=60
StartLimitBurst=4

[Service]
Type=notify
User=nobody-of-here
Group=www-data
Environment="GREETING=hello world" MODE=live 'PRICE=$5'
Environment=API_TOKEN=hunter22
EnvironmentFile=-/etc/default/shop
EnvironmentFile=deploy/web.env
ExecStartPre=-/usr/bin/test -d /srv/shop
ExecStartPre=venv/bin/python manage.py migrate
ExecStart=/bin/sh -c "exec gunicorn shop.wsgi --bind ${HOST}:8000 --name %p \
    --pid $$"
ExecReload=/bin/kill -HUP $MAINPID
Restart=on-failure
RestartSec=2min 30s
TimeoutStartSec=90
TimeoutStopSec=15
KillSignal=SIGQUIT
KillMode=mixed
LimitNOFILE=8192:16384
LimitCORE=infinity
UMask=0027
ProtectSystem=strict
PrivateTmp=true

[Install]
WantedBy=multi-user.target
"#;

#[test]
fn a_unit_becomes_its_tasks_and_its_service() {
    let units = read_files(&[
        ("deploy/shop-web.service", WEB),
        (
            "deploy/shop-queue.service",
            "[Service]\nExecStart=@python3 queue -m shop.queue\nRestart=always\nSuccessExitStatus=143\nExecStop=\n",
        ),
        (
            "shop-seed.service",
            "[Unit]\nBefore=shop-web.service\n[Service]\nType=oneshot\nUMask=0077\nLimitNOFILE=64\nExecStart=one \"a b\"\nExecStart=two\nRemainAfterExit=yes\n",
        ),
    ]);
    let web = unit(&units, "shop-web");
    assert_eq!(
        web.run,
        [
            "/bin/sh",
            "-c",
            "exec gunicorn shop.wsgi --bind $${HOST}:8000 --name shop-web  --pid $"
        ]
    );
    assert_eq!(web.ready.as_ref().unwrap().test, Test::Notify);
    assert_eq!(web.ready.as_ref().unwrap().timeout_ms, Some(90_000));
    let env = |name: &str| {
        web.env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (env("GREETING"), env("PRICE"), env("API_TOKEN")),
        (Some("hello world"), Some("$$5"), None)
    );
    assert_eq!(
        web.env_file,
        [
            ("/etc/default/shop".to_owned(), true),
            ("deploy/web.env".to_owned(), false)
        ]
    );
    assert_eq!(
        (web.restart, web.restart_backoff_ms),
        (Some("on-failure"), Some(150_000))
    );
    assert_eq!(
        (web.restart_max, web.restart_reset_ms),
        (Some(4), Some(60_000))
    );
    assert_eq!(
        (web.stop_signal.as_deref(), web.stop_timeout_ms),
        (Some("QUIT"), Some(15_000))
    );
    assert_eq!(web.limits, [("open_files", "8192".to_owned())]);
    assert_eq!(web.umask.as_deref(), Some("0027"));
    assert_eq!(web.after, ["shop-queue", "shop-web-pre-2", "shop-seed"]);
    let first = unit(&units, "shop-web-pre");
    assert!(first.oneshot && first.run[2] == "\"$@\" || true" && first.after == ["shop-queue"]);
    assert_eq!(
        unit(&units, "shop-web-pre-2").after,
        ["shop-web-pre", "shop-queue"]
    );
    assert_eq!(
        web.left,
        [
            "After=network.target postgresql.service",
            "Service.Group",
            "Service.ExecReload",
            "Service.LimitCORE",
            "Service.ProtectSystem",
            "Service.PrivateTmp"
        ]
    );
    let queue = unit(&units, "shop-queue");
    assert_eq!(queue.success, [0, 143]);
    assert!(
        queue
            .notes
            .iter()
            .any(|note| note.unsure && note.text.contains('@'))
    );
    let seed = unit(&units, "shop-seed");
    assert_eq!(
        (&seed.run[..], &seed.after[..]),
        (&["two".to_owned()][..], &["shop-seed-1".to_owned()][..])
    );
    let first = unit(&units, "shop-seed-1");
    assert_eq!(first.run, ["one", "a b"]);
    assert_eq!(
        (&first.umask, &first.limits),
        (
            &Some("0077".to_owned()),
            &vec![("open_files", "64".to_owned())]
        )
    );
    assert_eq!((&first.umask, &first.limits), (&seed.umask, &seed.limits));
    assert_eq!(seed.left, ["Service.RemainAfterExit"]);
    assert!(!format!("{units:?}").contains("hunter22"));
}

#[test]
fn times_and_quotes_of_systemd() {
    for (text, ms) in [
        ("5", Some(5000)),
        ("1min 30s", Some(90_000)),
        ("500ms", Some(500)),
        ("infinity", None),
        ("", None),
    ] {
        assert_eq!(time_ms(text), ms, "{text}");
    }
    assert_eq!(
        split("a \"b c\" 'd\"' e\\sf").unwrap(),
        ["a", "b c", "d\"", "e f"]
    );
    assert_eq!(split("a \"b"), None);
    assert_eq!(split("a \\x41"), None);
    let exec = |text: &str| exec(text, "x", &Unit::default());
    assert!(exec("one ; two").is_none());
    assert!(exec("run %h").is_none());
    assert_eq!(exec(":run $A").unwrap().words, ["run", "$$A"]);
    assert_eq!(
        exec("@/bin/sh name -c x").unwrap().words,
        ["/bin/sh", "-c", "x"]
    );
}

#[test]
fn variables_of_a_command_are_those_of_its_service() {
    let mut unit = Unit {
        env: [("PORT", "80"), ("OPTS", "-a  -b"), ("PRICE", "$$5")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        ..Unit::default()
    };
    for (text, words) in [
        (
            "web -p ${PORT} $OPTS ${OPTS} ${PRICE} a$PORT $$PORT",
            &[
                "web", "-p", "80", "-a", "-b", "-a  -b", "$$5", "a$$PORT", "$$PORT",
            ][..],
        ),
        (
            "web ${PORT} ${NO} $MORE 'a b' \"x\\\"${NO}$$y\" $$z",
            &[
                "sh",
                "-c",
                "set -f; exec web \"$${PORT}\" \"$${NO}\" $MORE 'a b' \"x\\\"$${NO}\\$y\" \"\\$z\"",
            ][..],
        ),
        (
            "/bin/bash -ec 'web ${NO} $MORE $$$$'",
            &["/bin/bash", "-ec", "web $${NO} $MORE $$$$"][..],
        ),
        (
            "/bin/kill -HUP $MAINPID",
            &["sh", "-c", "set -f; exec /bin/kill -HUP $MAINPID"][..],
        ),
    ] {
        assert_eq!(exec(text, "x", &unit).unwrap().words, words, "{text}");
    }
    unit.env_file.push(("more.env".to_owned(), true));
    assert_eq!(
        exec("web ${PORT}", "x", &unit).unwrap().words,
        ["sh", "-c", "exec web \"$${PORT}\""]
    );
}

#[test]
fn what_lies_over_a_unit_is_read_and_what_starts_it_is_named() {
    let units = read_files(&[
        (
            "deploy/web@.service",
            "[Service]\nExecStart=old\nUMask=0077\n[Install]\nWantedBy=default.target\n",
        ),
        (
            "deploy/web@.service.d/10.conf",
            "[Service]\nExecStart=\nExecStart=new %i\nNice=5\nLimitNOFILE=9\n",
        ),
        (
            "deploy/web@.service.d/20.conf",
            "[Service]\nLimitNOFILE=8\n",
        ),
        ("deploy/web.timer", "[Timer]\nOnCalendar=daily\n"),
    ]);
    let web = unit(&units, "web");
    assert_eq!(web.run, ["new", "INSTANCE"]);
    assert_eq!(web.limits, [("open_files", "8".to_owned())]);
    assert_eq!(web.left, ["Service.Nice"]);
    assert!(web.notes.iter().any(|note| note.text.contains("10.conf")));
    assert_eq!(units.left, ["deploy/web.timer"]);
}
