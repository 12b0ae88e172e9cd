use super::*;

fn read_file(name: &str, text: &str) -> (Units, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(name), text).unwrap();
    std::fs::create_dir(dir.path().join("web")).unwrap();
    let files = Files::of(dir.path());
    let units = read(&files, name);
    (units, files.into_messages())
}

#[test]
fn applications_become_services_and_the_rest_is_named() {
    let text = r#"
// three of them
module.exports = {
  apps: [
    {
      name: 'web',
      script: 'server.js',
      cwd: './web',
      args: ['--cost', '$5'],
      node_args: '--max-old-space-size=512',
      instances: 'max', exec_mode: "cluster",
      env: { PORT: 3000, API_TOKEN: 'hunter22' },
      env_production: { NODE_ENV: 'production' },
      max_restarts: 10, min_uptime: '5s', restart_delay: 3000, kill_timeout: 1600,
      watch: false, max_memory_restart: '1G', listen_timeout: 'long',
    },
    { name: 'api', script: 'main.py', interpreter: '.venv/bin/python', args: "--port 8000" , wait_ready: true},
    { script: 'npm run jobs', autorestart: false, restart_delay: 5 },
  ],
  deploy: { production: { host: 'a' } },
};
"#;
    let (units, messages) = read_file("ecosystem.config.js", text);
    assert_eq!(messages, Vec::<String>::new());
    let [web, api, jobs] = &units.units[..] else {
        panic!("{units:?}");
    };
    assert_eq!(
        web.run,
        [
            "node",
            "--max-old-space-size=512",
            "server.js",
            "--cost",
            "$$5"
        ]
    );
    assert_eq!(
        (web.cwd.as_deref(), &web.env[..]),
        (Some("web"), &[("PORT".to_owned(), "3000".to_owned())][..])
    );
    assert_eq!(
        (web.restart, web.restart_max, web.restart_backoff_ms),
        (Some("always"), Some(10), Some(3000))
    );
    assert_eq!(
        (web.min_uptime_ms, web.stop_timeout_ms),
        (Some(5000), Some(1600))
    );
    assert_eq!(
        web.left,
        [
            "instances",
            "exec_mode",
            "env_production.NODE_ENV",
            "watch",
            "max_memory_restart",
            "listen_timeout"
        ]
    );
    assert_eq!(api.run, [".venv/bin/python", "main.py", "--port", "8000"]);
    assert_eq!(api.left, ["wait_ready"]);
    assert_eq!(
        (jobs.name.as_str(), &jobs.run[..]),
        (
            "npm run jobs",
            &["npm", "run", "jobs"].map(str::to_owned)[..]
        )
    );
    assert_eq!(
        (jobs.restart, &jobs.left[..]),
        (Some("never"), &["restart_delay".to_owned()][..])
    );
    assert_eq!(units.left, ["deploy.production.host"]);
    assert!(!format!("{units:?}").contains("hunter22"));
}

#[test]
fn a_program_is_not_run_and_json_and_yaml_are_read() {
    let (units, messages) = read_file(
        "ecosystem.config.js",
        "const x = require('os');\nmodule.exports = {};\n",
    );
    assert!(units.units.is_empty());
    assert!(
        messages[0].contains("ecosystem.config.js:1") && messages[0].contains("node -p"),
        "{messages:?}"
    );
    let (units, _) = read_file(
        "ecosystem.config.json",
        "{\"apps\": {\"script\": \"a.sh\", \"name\": \"a\"}}",
    );
    assert_eq!(units.units[0].run, ["bash", "a.sh"]);
    let (units, _) = read_file(
        "pm2.json",
        "[{\"script\": \"./run\", \"name\": \"a\", \"uid\": \"nobody-of-here\"}]",
    );
    assert_eq!(units.units[0].run, ["./run"]);
    assert!(units.units[0].notes[0].text.contains("nobody-of-here"));
    let (units, _) = read_file(
        "ecosystem.config.yml",
        "apps:\n  - script: a.py\n    instances: 1\n",
    );
    assert_eq!(
        (units.units[0].run[0].as_str(), units.units[0].left.len()),
        ("python3", 0)
    );
}

#[test]
fn what_pm2_does_by_itself_is_named_and_a_list_of_applications_is_no_rest() {
    let (units, _) = read_file(
        "ecosystem.config.json",
        "[{\"script\": \"a.py\", \"stop_exit_codes\": [7]}, {\"script\": \"b.py\", \"stop_exit_codes\": [0, 3]}, \
         {\"script\": \"serve\", \"env\": {\"PM2_SERVE_PORT\": 80}}]",
    );
    assert_eq!(units.left, [""; 0]);
    let [a, b, served] = &units.units[..] else {
        panic!("{:?}", units.units)
    };
    assert_eq!((a.restart, &a.success[..]), (Some("on-failure"), &[7][..]));
    assert!(
        a.notes
            .iter()
            .any(|note| note.text.contains("exit status 0"))
    );
    assert_eq!(
        (b.restart, &b.success[..]),
        (Some("on-failure"), &[0, 3][..])
    );
    assert!(b.notes.is_empty() && served.run.is_empty());
    assert_eq!(served.left, ["script"]);
}
