use std::path::Path;

use super::*;

#[test]
fn checksums_are_those_of_the_tools() {
    // The check value of CRC-32 is cbf43926.
    assert_eq!(
        flyway_checksum(b"123\r\n456\n789"),
        (0xcbf4_3926_u32.cast_signed()).to_string()
    );
    assert_eq!(
        flyway_checksum("\u{feff}123456789\n".as_bytes()),
        flyway_checksum(b"123456789")
    );
    // FIPS 180-4, the example for "abc".
    assert!(sqlx_checksum(b"abc").starts_with("cb00753f45a35e8bb5a03d699ac65007"));
}

/// Values that refinery-core 0.8.16 gives, and 0.9.2 with `int8-versions`.
#[test]
fn checksums_of_refinery_are_those_that_it_gives() {
    let create = "CREATE TABLE a (id INTEGER PRIMARY KEY);";
    for (file, sql, narrow, wide) in [
        (
            "V1__initial.sql",
            create,
            "5482313170180216770",
            "14509619383852102326",
        ),
        (
            "U2__b.sql",
            "ALTER TABLE a ADD COLUMN b TEXT;\n",
            "18352380234622687351",
            "7302567677759638767",
        ),
        (
            "V3__ümlaut.sql",
            "",
            "8122412565824105554",
            "9443333191776140245",
        ),
    ] {
        let scripts =
            crate::checks::schema::sql_names::read_folder(&[Path::new("m").join(file)]).unwrap();
        assert_eq!(
            refinery_checksums(&scripts[0], sql.as_bytes()),
            [narrow, wide],
            "{file}"
        );
    }
}
