use super::*;
use crate::init::draft::Test;

fn read_files(contents: &[(&str, &str)]) -> (Units, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in contents {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let files = Files::of(dir.path());
    let units = read(&files, contents[0].0);
    (units, files.into_messages())
}

fn unit<'u>(units: &'u Units, name: &str) -> &'u Unit {
    units.units.iter().find(|unit| unit.name == name).unwrap()
}

const STACK: &str = r#"
name: shop
x-app: &app
  build: .
  env_file: [.env, ../outside.env]
  environment: &env
    DATABASE_URL: postgresql://shop:hunter22@db:5432/shop
    REDIS_URL: redis://redis:6379/0
    LOG_LEVEL: ${LOG_LEVEL:-info}
    MODE: production
    SENTRY_DSN:
    API_TOKEN: abcdef
services:
  db:
    image: postgres:16
    ports: ["5433:5432"]
  redis: {image: "redis:7"}
  migrate:
    <<: *app
    command: alembic upgrade head
    depends_on: {db: {condition: service_healthy}}
  web:
    <<: *app
    command: uvicorn app.main:app --host 0.0.0.0 --port 8000
    environment:
      <<: *env
      WEB: "1"
    depends_on:
      migrate: {condition: service_completed_successfully}
      redis: {condition: service_started}
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost:8000/health"]
      interval: 5s
      retries: 3
    restart: unless-stopped
    stop_grace_period: 20s
  worker:
    image: shop
    command: ["celery", "-A", "app.tasks", "worker"]
    depends_on: [web]
  debug:
    <<: *app
    profiles: [debug]
"#;

#[test]
fn a_stack_is_taken_apart() {
    let (units, messages) = read_files(&[("compose.yaml", STACK)]);
    assert_eq!(messages, Vec::<String>::new());
    assert_eq!(units.name.as_deref(), Some("shop"));
    assert_eq!(
        unit(&units, "db").image,
        Some(("postgres:16".into(), Some("5433".into())))
    );
    assert_eq!(
        unit(&units, "redis").image,
        Some(("redis:7".into(), Some("6379".into())))
    );
    let migrate = unit(&units, "migrate");
    assert!(migrate.oneshot && migrate.after == ["db"]);
    let web = unit(&units, "web");
    assert_eq!(web.after, ["migrate", "redis"]);
    assert_eq!(
        web.ready.as_ref().unwrap().test,
        Test::Http("http://127.0.0.1:8000/health".into())
    );
    assert_eq!(web.live.as_ref().unwrap().interval_ms, Some(5000));
    assert_eq!(web.restart, Some("unless-stopped"));
    assert_eq!(web.needs, [("redis".to_owned(), "started")]);
    assert_eq!(web.env_file, [("../outside.env".to_owned(), false)]);
    assert_eq!(web.stop_timeout_ms, Some(20_000));
    assert_eq!(
        web.env,
        [
            ("WEB".to_owned(), "1".to_owned()),
            ("MODE".to_owned(), "production".to_owned())
        ]
    );
    let notes: Vec<&str> = web.notes.iter().map(|note| note.text.as_str()).collect();
    let said = |word: &str| notes.iter().any(|note| note.contains(word));
    assert!(
        said("DATABASE_URL") && said("REDIS_URL") && said("API_TOKEN"),
        "{notes:?}"
    );
    // A program of ours in an image that nobody here builds.
    assert_eq!(unit(&units, "worker").run[0], "celery");
    assert_eq!(unit(&units, "debug").profiles, ["debug"]);
    assert_eq!(units.env_files, [".env"]);
    let level = units
        .references
        .iter()
        .find(|r| r.name == "LOG_LEVEL")
        .unwrap();
    assert_eq!(level.default.as_deref(), Some("info"));
    assert!(units.references.iter().any(|r| r.name == "SENTRY_DSN"));
    let all = format!("{units:?}");
    assert!(
        !all.contains("hunter22") && !all.contains("abcdef"),
        "{all}"
    );
}

#[test]
fn the_override_file_lies_over_the_other_and_a_dockerfile_gives_the_command() {
    let (units, _) = read_files(&[
        (
            "docker-compose.yml",
            "services:\n  web:\n    build: {context: ./web}\n    environment: [A=1, B=2]\n    ports: ['8000:80']\n",
        ),
        (
            "docker-compose.override.yml",
            "services:\n  web:\n    environment: {B: '3'}\n  extra: {build: ., extends: {service: gone}}\n",
        ),
        (
            "web/Dockerfile",
            "FROM x\nCMD [\"python\", \"-m\", \"web.run\"]\n",
        ),
    ]);
    let web = unit(&units, "web");
    assert_eq!(web.run, ["python", "-m", "web.run"]);
    assert_eq!(web.cwd.as_deref(), Some("web"));
    assert_eq!(web.port.as_deref(), Some("80"));
    assert_eq!(
        web.env,
        [
            ("A".to_owned(), "1".to_owned()),
            ("B".to_owned(), "3".to_owned())
        ]
    );
    let extra = unit(&units, "extra");
    assert!(extra.run.is_empty());
    assert_eq!(extra.left, ["extends.service"]);
    assert!(
        units
            .notes
            .iter()
            .any(|note| note.unsure && note.text.contains("extra"))
    );
}

#[test]
fn an_override_may_take_away_and_put_in_place_of() {
    let (units, _) = read_files(&[
        (
            "compose.yaml",
            "services:\n  web:\n    build: .\n    command: [run]\n    user: ann\n    environment: [A=1]\n    ports: ['80', '81']\n",
        ),
        (
            "compose.override.yaml",
            "services:\n  web:\n    user: !reset null\n    environment: !override {B: '2'}\n    ports: !reset ['90']\n",
        ),
    ]);
    let web = unit(&units, "web");
    assert_eq!(web.user, None);
    assert_eq!(web.env, [("B".to_owned(), "2".to_owned())]);
    assert_eq!(web.port, None);
    assert_eq!(web.run, ["run"]);
    assert_eq!(web.left, [""; 0]);
}

#[test]
fn what_is_malformed_is_said_and_is_not_the_end() {
    for text in [
        "a: [",
        "- 1\n",
        "services: 7\n",
        "services:\n  web: 7\n  x: {depends_on: 3}\n",
        "\t\tx",
        "",
    ] {
        let (units, messages) = read_files(&[("compose.yaml", text)]);
        let said = units.notes.iter().any(|note| note.unsure)
            || units
                .units
                .iter()
                .any(|unit| unit.image.is_some() || !unit.notes.is_empty());
        assert!(said, "{text:?} {units:?} {messages:?}");
    }
    let (units, messages) = read_files(&[("compose.yaml", "services:\n  a: &a [*a]\n")]);
    assert!(units.units.is_empty());
    assert!(messages[0].contains("compose.yaml:2"), "{messages:?}");
}

#[test]
fn what_the_image_sets_is_the_services_unless_it_sets_it_itself() {
    let (units, _) = read_files(&[
        (
            "compose.yaml",
            "services:\n  web:\n    build: api\n    user: app\n    env_file: web.env\n    environment:\n      MODE: own\n",
        ),
        ("web.env", "LEVEL=2\n"),
        (
            "api/Dockerfile",
            "FROM python:3.12\nWORKDIR /app\nCOPY . .\nENV MODE=image LEVEL=1 REGION=eu CONFIG=/app/c.toml SECRET_KEY=abc\n\
             ENV GREETING=it's\nUSER web\nVOLUME /data\nCMD [\"python\", \"main.py\"]\n",
        ),
    ]);
    let web = unit(&units, "web");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        web.env,
        [
            pair("REGION", "eu"),
            pair("CONFIG", "c.toml"),
            pair("MODE", "own")
        ]
    );
    let left = web.notes.iter().find(|note| note.not_carried).unwrap();
    assert_eq!(
        left.text,
        "not carried over from api/Dockerfile: ENV SECRET_KEY, ENV GREETING, VOLUME /data"
    );
}
