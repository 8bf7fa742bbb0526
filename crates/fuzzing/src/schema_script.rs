//! An application's schema and what it writes, from any bytes: SQL as it stands there, or statements put together from
//! numbers, with the names and the clauses that are hard to get right.

use arbitrary::{Arbitrary, Unstructured};

/// Input that begins so is SQL: the schema, then [`WRITES`], then one write a line.
const SQL: &[u8] = b"--";
/// Between the schema and the writes.
const WRITES: &str = "\n-- writes\n";
/// More writes find nothing that fewer would not.
const WRITES_MAX: usize = 30;

/// What an application does.
pub(crate) struct Script {
    /// One statement each, or several.
    pub(crate) schema: Vec<String>,
    /// The same, for rows.
    pub(crate) writes: Vec<String>,
}

impl Script {
    /// `None` when the bytes say nothing.
    pub(crate) fn read(data: &[u8]) -> Option<Self> {
        let mut script = if data.starts_with(SQL) {
            let text = std::str::from_utf8(data).ok()?;
            let (schema, writes) = text.split_once(WRITES).unwrap_or((text, ""));
            Self { schema: vec![schema.to_owned()], writes: writes.lines().map(str::to_owned).collect() }
        } else {
            Application::arbitrary_take_rest(Unstructured::new(data)).ok()?.script()
        };
        script.writes.truncate(WRITES_MAX);
        Some(script)
    }
}

const NAMES: [&str; 24] = [
    "t",
    "id",
    "a",
    "B",
    "rowid",
    "_rowid_",
    "oid",
    "type",
    "val_id",
    "new",
    "OLD",
    "select",
    "sp ace",
    "dot.ted",
    "quo\"te",
    "apo'strophe",
    "[bra]",
    "`tick`",
    "ünï",
    "名",
    "semi;--",
    "%_",
    "x",
    "",
];
const TYPES: [&str; 10] =
    ["", "INTEGER", "TEXT", "BLOB", "REAL", "NUMERIC", "VARCHAR(10)", "INT", "ANY", "BOOLEAN DEFAULT 1"];
const COLLATIONS: [&str; 4] = ["", "COLLATE NOCASE", "COLLATE RTRIM", "COLLATE BINARY"];
const CONFLICTS: [&str; 6] = [
    "",
    "ON CONFLICT REPLACE",
    "ON CONFLICT IGNORE",
    "ON CONFLICT FAIL",
    "ON CONFLICT ABORT",
    "ON CONFLICT ROLLBACK",
];
const DEFAULTS: [&str; 6] =
    ["", "DEFAULT 7", "DEFAULT 'x'", "DEFAULT (1 + 1)", "DEFAULT NULL", "DEFAULT x'00'"];
const VALUES: [&str; 16] = [
    "NULL",
    "0",
    "1",
    "2",
    "-1",
    "1.0",
    "0.5",
    "'a'",
    "'A'",
    "'a '",
    "''",
    "x''",
    "x'61'",
    "9223372036854775807",
    "-9e999",
    "CAST(x'ff' AS TEXT)",
];
const VERBS: [&str; 6] =
    ["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE", "INSERT OR FAIL", "INSERT OR ROLLBACK", "REPLACE"];
const ORS: [&str; 4] = ["", "OR REPLACE", "OR IGNORE", "OR FAIL"];

#[derive(Arbitrary, Debug)]
struct Application {
    tables: Vec<Table>,
    objects: Vec<Object>,
    writes: Vec<Write>,
    recursive_triggers: bool,
    foreign_keys: bool,
}

#[derive(Arbitrary, Debug)]
struct Table {
    name: u8,
    columns: Vec<Column>,
    last: Column,
    key: Key,
    without_rowid: bool,
    strict: bool,
    unique: Option<(u8, u8, u8)>,
    parent: Option<(u8, u8)>,
}

#[derive(Arbitrary, Debug)]
struct Column {
    name: u8,
    kind: u8,
    collation: u8,
    default: u8,
    not_null: bool,
    unique: Option<u8>,
    generated: Option<u8>,
    check: bool,
}

#[derive(Arbitrary, Debug)]
enum Key {
    None,
    Alias { autoincrement: bool, descending: bool },
    Column { conflict: u8 },
    Several { first: u8, second: u8, collation: u8 },
}

#[derive(Arbitrary, Debug)]
enum Object {
    Index { table: u8, first: u8, second: u8, unique: bool, kind: u8, collation: u8 },
    View { name: u8, table: u8 },
    Trigger { table: u8, before: bool, event: u8, action: u8, other: u8 },
    Drop { table: u8 },
    AddColumn { table: u8, name: u8 },
    Search { name: u8 },
    Row(Write),
}

#[derive(Arbitrary, Debug)]
struct Write {
    table: u8,
    verb: u8,
    values: [u8; 6],
    column: u8,
    by: u8,
    transaction: bool,
}

fn pick<'a>(from: &[&'a str], number: u8) -> &'a str {
    from[usize::from(number) % from.len()]
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Application {
    fn script(self) -> Script {
        let flag = |name, on| format!("PRAGMA {name} = {on}");
        let mut schema = vec![
            flag("recursive_triggers", self.recursive_triggers),
            flag("foreign_keys", self.foreign_keys),
        ];
        let tables: Vec<Named> = self.tables.iter().take(3).enumerate().map(Named::new).collect();
        schema.extend(tables.iter().map(|table| table.sql(&tables)));
        schema.extend(self.objects.iter().take(8).filter_map(|object| object.sql(&tables)));
        let writes = self.writes.iter().filter_map(|write| write.sql(&tables)).collect();
        Script { schema, writes }
    }
}

/// A table with the names that it really has.
struct Named<'a> {
    table: &'a Table,
    name: String,
    columns: Vec<(String, &'a Column)>,
}

impl<'a> Named<'a> {
    fn new((index, table): (usize, &'a Table)) -> Self {
        // Often different ones; two of one name are an error of the application's, and a table less.
        let name = quoted(&format!(
            "{}{}",
            pick(&NAMES, table.name),
            if table.name < 64 { "" } else { pick(&NAMES, index as u8) }
        ));
        let columns = std::iter::once(&table.last).chain(table.columns.iter().take(5)).enumerate();
        let named =
            columns.map(|(at, column)| (quoted(pick(&NAMES, column.name.wrapping_add(at as u8))), column));
        Self { table, name, columns: named.collect() }
    }

    fn column(&self, number: u8) -> &str {
        &self.columns[usize::from(number) % self.columns.len()].0
    }

    fn stored(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|(_, column)| column.generated.is_none()).map(|(name, _)| name.as_str())
    }

    fn sql(&self, all: &[Named<'_>]) -> String {
        let mut parts: Vec<String> =
            self.columns.iter().enumerate().map(|(at, _)| self.column_sql(at)).collect();
        if let Key::Several { first, second, collation } = &self.table.key {
            let collation = pick(&COLLATIONS, *collation);
            parts.push(format!("PRIMARY KEY({} {collation}, {})", self.column(*first), self.column(*second)));
        }
        if let Some((first, second, conflict)) = self.table.unique {
            let (first, second) = (self.column(first), self.column(second));
            parts.push(format!("UNIQUE({first}, {second}) {}", pick(&CONFLICTS, conflict)));
        }
        if let Some((column, parent)) = self.table.parent {
            let parent = &all[usize::from(parent) % all.len()];
            parts.push(format!(
                "FOREIGN KEY({}) REFERENCES {}({}) ON DELETE CASCADE ON UPDATE CASCADE",
                self.column(column),
                parent.name,
                parent.column(0)
            ));
        }
        let options = [(self.table.without_rowid, "WITHOUT ROWID"), (self.table.strict, "STRICT")];
        let options: Vec<&str> = options.iter().filter(|(on, _)| *on).map(|(_, option)| *option).collect();
        format!("CREATE TABLE {}({}) {}", self.name, parts.join(", "), options.join(", "))
    }

    fn column_sql(&self, at: usize) -> String {
        let (name, column) = &self.columns[at];
        let mut parts = vec![name.clone(), pick(&TYPES, column.kind).to_owned()];
        match &self.table.key {
            Key::Alias { autoincrement, descending } if at == 0 => {
                let order = if *descending { "DESC" } else { "" };
                let auto = if *autoincrement { "AUTOINCREMENT" } else { "" };
                return format!("{name} INTEGER PRIMARY KEY {order} {auto}");
            }
            Key::Column { conflict } if at == 0 => {
                parts.push(format!("PRIMARY KEY {}", pick(&CONFLICTS, *conflict)));
            }
            _ => {}
        }
        parts.push(pick(&COLLATIONS, column.collation).to_owned());
        match column.generated {
            Some(number) => {
                let stored = if number & 1 == 0 { "VIRTUAL" } else { "STORED" };
                parts.push(format!("AS (lower({})) {stored}", self.column(number >> 1)));
            }
            None => parts.push(pick(&DEFAULTS, column.default).to_owned()),
        }
        if column.not_null {
            parts.push("NOT NULL".to_owned());
        }
        if let Some(conflict) = column.unique {
            parts.push(format!("UNIQUE {}", pick(&CONFLICTS, conflict)));
        }
        if column.check {
            parts.push(format!("CHECK({name} IS NOT 2)"));
        }
        parts.join(" ")
    }
}

fn table<'t, 'a>(tables: &'t [Named<'a>], number: u8) -> Option<&'t Named<'a>> {
    tables.get(usize::from(number) % tables.len().max(1))
}

impl Object {
    fn sql(&self, tables: &[Named<'_>]) -> Option<String> {
        Some(match self {
            Self::Index { table: number, first, second, unique, kind, collation } => {
                let table = table(tables, *number)?;
                let unique = if *unique { "UNIQUE" } else { "" };
                let (first, second) = (table.column(*first), table.column(*second));
                let what = match kind % 4 {
                    0 => format!("{first} {}", pick(&COLLATIONS, *collation)),
                    1 => format!("{first}, {second} DESC"),
                    2 => format!("lower({first}), {second} || 'x'"),
                    _ => format!("coalesce({first}, 0)"),
                };
                let partial = if kind & 16 == 0 { String::new() } else { format!("WHERE {second} > 1") };
                let name = quoted(&format!("index of {}{number}{kind}", table.name));
                format!("CREATE {unique} INDEX {name} ON {}({what}) {partial}", table.name)
            }
            Self::View { name, table: number } => {
                let name = quoted(&format!("{} seen", pick(&NAMES, *name)));
                format!("CREATE VIEW {name} AS SELECT * FROM {}", table(tables, *number)?.name)
            }
            Self::Trigger { table: number, before, event, action, other } => {
                let (table, other) = (table(tables, *number)?, table(tables, *other)?);
                let when = if *before { "BEFORE" } else { "AFTER" };
                let event = pick(&["INSERT", "UPDATE", "DELETE"], *event);
                let first = other.column(0);
                let action = match action % 5 {
                    0 => format!("UPDATE {} SET {first} = {first}", other.name),
                    1 => format!("DELETE FROM {} WHERE {first} IS 2", other.name),
                    2 => format!("INSERT OR IGNORE INTO {}({first}) VALUES(5)", other.name),
                    3 => format!("REPLACE INTO {}({first}) VALUES(6)", other.name),
                    _ => "SELECT RAISE(IGNORE)".to_owned(),
                };
                let name = quoted(&format!("{when} {event} of {}", table.name));
                format!("CREATE TRIGGER {name} {when} {event} ON {} BEGIN {action}; END", table.name)
            }
            Self::Drop { table: number } => format!("DROP TABLE {}", table(tables, *number)?.name),
            Self::AddColumn { table: number, name } => {
                let table = &table(tables, *number)?.name;
                format!("ALTER TABLE {table} ADD COLUMN {} DEFAULT 'added'", quoted(pick(&NAMES, *name)))
            }
            Self::Search { name } => {
                format!(
                    "CREATE VIRTUAL TABLE {} USING fts5(words)",
                    quoted(&format!("{}fts", pick(&NAMES, *name)))
                )
            }
            Self::Row(write) => write.sql(tables)?,
        })
    }
}

impl Write {
    fn sql(&self, tables: &[Named<'_>]) -> Option<String> {
        let table = table(tables, self.table)?;
        let value = |at: usize| pick(&VALUES, self.values[at % self.values.len()]);
        let (set, by) = (table.column(self.column), table.column(self.by));
        let or = pick(&ORS, self.values[5]);
        let (name, verb) = (&table.name, pick(&VERBS, self.values[4]));
        let sql = match self.verb % 8 {
            0..=3 => {
                let columns: Vec<&str> = table.stored().collect();
                let values: Vec<&str> = (0..columns.len()).map(value).collect();
                format!("{verb} INTO {name}({}) VALUES({})", columns.join(", "), values.join(", "))
            }
            4 => format!("UPDATE {or} {name} SET {set} = {} WHERE {by} IS {}", value(0), value(1)),
            5 => format!("UPDATE {or} {name} SET {set} = {by}"),
            6 => format!("DELETE FROM {name} WHERE {by} IS {}", value(0)),
            _ => format!("{verb} INTO {name}({set}, {by}) SELECT {}, {by} FROM {name}", value(0)),
        };
        Some(if self.transaction { format!("BEGIN; {sql}; COMMIT") } else { sql })
    }
}
