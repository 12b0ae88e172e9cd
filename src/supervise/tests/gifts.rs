//! What a service is given and denied at its start, and the command that asks it to end.

use super::*;

#[test]
fn a_service_and_its_probes_get_the_umask_and_the_limits() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let asks = "umask; ulimit -n; ulimit -Hn; ulimit -v; ulimit -t; ulimit -c; ulimit -f";
        let mut spec = sh(dir.path(), asks);
        spec.umask = Some(0o027);
        spec.limits = ServiceLimits {
            open_files: Some(200),
            processes: None,
            memory_bytes: Some(1 << 30),
            cpu_s: Some(7),
            core_bytes: Some(0),
            file_bytes: Some(1 << 20),
        };
        let mut service = spawn(&spec, plain()).unwrap();
        assert_eq!(service.wait().await, ExitKind::Code(0));
        let blocks = ["2048", "1024"];
        let said = service.tail();
        assert_eq!(said[..6], ["0027", "200", "200", "1048576", "7", "0"]);
        assert!(blocks.contains(&said[6].as_str()), "{said:?}");
        let probe = Probe {
            kind: ProbeKind::Exec(
                ["sh", "-c", "test $(ulimit -n) = 200"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            ..Probe::READY_DEFAULT
        };
        let asked = Asked {
            spec: &spec,
            leader: None,
            signs: None,
        };
        probe_once(&probe, 10_000, asked).await.unwrap();
    });
}

#[test]
fn a_stop_command_asks_the_service_to_end_and_the_signal_follows_if_it_fails() {
    let dir = tempfile::tempdir().unwrap();
    run(async {
        let script = "trap 'echo asked; exit 0' USR1; trap 'echo signalled; exit 0' TERM; \
                      echo up; while :; do sleep 0.02; done";
        let command = |text: &str| ["sh", "-c", text].map(str::to_owned).to_vec();
        let mut spec = sh(dir.path(), script);
        spec.env.insert("WHO".into(), "web".into());
        for (text, said) in [
            ("echo $WHO > stopped; kill -USR1 $MAINPID", "asked"),
            ("exit 4", "signalled"),
        ] {
            let mut service = spawn(&spec, plain()).unwrap();
            printed(&service, "up").await;
            let asked = ask_to_end(&service, &command(text), &spec, 20_000).await;
            assert_eq!(asked.is_ok(), said == "asked", "{asked:?}");
            if let Err(why) = asked {
                service.note_when_stopped(format!("ubs: {why}"));
            }
            let exit = service.stop(Signal::SIGTERM, 20_000).await;
            assert_eq!(exit, ExitKind::Code(0));
            assert!(
                service.tail().iter().any(|line| line == said),
                "{:?}",
                service.tail()
            );
        }
        assert_eq!(
            fs::read_to_string(dir.path().join("stopped")).unwrap(),
            "web\n"
        );
        let log = fs::read_to_string(&spec.log_path).unwrap();
        assert!(log.contains("ubs: sh ended with exit status 4"), "{log}");

        // One that hangs is bounded.
        let mut service = spawn(&spec, plain()).unwrap();
        printed(&service, "up").await;
        let hung = ask_to_end(&service, &command("sleep 600"), &spec, 50).await;
        let why = hung.unwrap_err().to_string();
        assert_eq!(why, "sh did not end within 50 ms");
        let exit = service.stop(Signal::SIGTERM, 20_000).await;
        assert_eq!(exit, ExitKind::Code(0));
    });
}
