//! The sample database: a small shop, the same on every machine.

use std::{
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, params};

/// Why the sample database could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The file or its folder.
    #[error("sample database `{path}` cannot be created")]
    File {
        /// The path as given.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// SQLite.
    #[error("sample database `{path}` cannot be filled")]
    Sqlite {
        /// The path as given.
        path: PathBuf,
        /// SQLite's word.
        #[source]
        source: rusqlite::Error,
    },
}

const SCHEMA: &str = "
CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    email TEXT NOT NULL UNIQUE,
    city TEXT NOT NULL,
    country TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE products (
    id INTEGER PRIMARY KEY,
    sku TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    category TEXT NOT NULL,
    price_cents INTEGER NOT NULL CHECK (price_cents > 0),
    stock INTEGER NOT NULL DEFAULT 0 CHECK (stock >= 0)
) STRICT;
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL REFERENCES customers(id),
    status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'shipped', 'delivered', 'cancelled')),
    ordered_at TEXT NOT NULL
) STRICT;
CREATE TABLE order_items (
    order_id INTEGER NOT NULL REFERENCES orders(id) ON DELETE CASCADE,
    product_id INTEGER NOT NULL REFERENCES products(id),
    quantity INTEGER NOT NULL CHECK (quantity > 0),
    unit_price_cents INTEGER NOT NULL,
    PRIMARY KEY (order_id, product_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_by_customer ON orders(customer_id, ordered_at);
CREATE INDEX order_items_by_product ON order_items(product_id);
CREATE VIEW order_totals AS
    SELECT o.id AS order_id, c.name AS customer, o.status, o.ordered_at,
           sum(i.quantity * i.unit_price_cents) AS total_cents
    FROM orders o
    JOIN customers c ON c.id = o.customer_id
    JOIN order_items i ON i.order_id = o.id
    GROUP BY o.id;
";

const CUSTOMERS: [(&str, &str, &str); 20] = [
    ("Amelia Hart", "London", "United Kingdom"),
    ("Bruno Costa", "Porto", "Portugal"),
    ("Chiara Romano", "Milan", "Italy"),
    ("David Okafor", "Lagos", "Nigeria"),
    ("Elif Yılmaz", "Izmir", "Türkiye"),
    ("Fatima Zahra", "Casablanca", "Morocco"),
    ("Grace Liu", "Singapore", "Singapore"),
    ("Henrik Solberg", "Bergen", "Norway"),
    ("Ines Moreau", "Lyon", "France"),
    ("Jonas Weber", "Hamburg", "Germany"),
    ("Kavya Nair", "Kochi", "India"),
    ("Liam O'Brien", "Cork", "Ireland"),
    ("Marta Nowak", "Gdańsk", "Poland"),
    ("Noah Tremblay", "Montréal", "Canada"),
    ("Olivia Novák", "Brno", "Czechia"),
    ("Pedro Álvarez", "Valencia", "Spain"),
    ("Quinn Harris", "Portland", "United States"),
    ("Rania Haddad", "Amman", "Jordan"),
    ("Sora Tanaka", "Kyoto", "Japan"),
    ("Tamara Petrova", "Varna", "Bulgaria"),
];

const PRODUCTS: [(&str, &str, &str, i64, i64); 15] = [
    ("DSK-100", "Oak Writing Desk", "furniture", 34_900, 12),
    ("DSK-200", "Standing Desk Frame", "furniture", 52_500, 7),
    ("CHR-110", "Mesh Office Chair", "furniture", 21_900, 23),
    ("LMP-010", "Clamp Desk Lamp", "lighting", 3_990, 64),
    ("LMP-020", "Floor Reading Lamp", "lighting", 8_950, 18),
    ("KBD-301", "Mechanical Keyboard", "electronics", 11_900, 41),
    ("MSE-302", "Vertical Mouse", "electronics", 5_490, 55),
    ("MON-327", "27 Inch Monitor", "electronics", 28_900, 15),
    ("HUB-007", "USB-C Hub, 7 Ports", "electronics", 4_450, 80),
    ("HDP-450", "Wireless Headphones", "electronics", 17_900, 26),
    ("NTB-A05", "Dotted Notebook A5", "stationery", 1_290, 240),
    ("PEN-012", "Fountain Pen", "stationery", 3_200, 95),
    ("INK-BLU", "Ink Bottle, Blue", "stationery", 890, 150),
    ("MAT-090", "Felt Desk Mat", "accessories", 2_750, 72),
    ("TRY-003", "Cable Tray", "accessories", 1_990, 0),
];

const STATUSES: [&str; 5] = ["delivered", "shipped", "paid", "pending", "cancelled"];
const ORDERS: i64 = 30;

/// Creates the sample database at `path`, unless there is a file already; tells whether it did. Blocks.
///
/// It appears whole or not at all. The folder must exist.
///
/// # Errors
///
/// [`SampleError`] when the file cannot be written.
pub fn create(path: &Path) -> Result<bool, SampleError> {
    let file = |source| SampleError::File {
        path: path.to_owned(),
        source,
    };
    if path.try_exists().map_err(file)? {
        return Ok(false);
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.draft", std::process::id()));
    let draft = PathBuf::from(draft);
    let made = new_file(&draft)
        .map_err(file)
        .and_then(|()| {
            fill(&draft).map_err(|source| SampleError::Sqlite {
                path: path.to_owned(),
                source,
            })
        })
        .and_then(|()| appear(&draft, path).map_err(file));
    // After a link the draft is a second name, after a failure a remnant; after a rename it is gone.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %draft.display(), %error, "a draft could not be removed");
        }
        _ => {}
    }
    made
}

/// Creates an empty file that only its owner can read.
fn new_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path).map(drop)
}

/// Gives the draft its name, unless another process was first.
fn appear(draft: &Path, path: &Path) -> io::Result<bool> {
    match fs::hard_link(draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        // Some file systems have no links.
        Err(_) => fs::rename(draft, path).map(|()| true),
    }
}

fn fill(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path.canonicalize().unwrap_or_else(|_| path.to_owned()))?;
    // Readers and a writer do not wait for each other.
    connection.pragma_update(None, "journal_mode", "wal")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    fill_people_and_goods(&transaction)?;
    fill_orders(&transaction)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

fn fill_people_and_goods(connection: &Connection) -> rusqlite::Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO customers (name, email, city, country, created_at)
         VALUES (?1, ?2, ?3, ?4, date('2024-01-08', '+' || (?5 * 17) || ' days'))",
    )?;
    for (index, (name, city, country)) in (0_i64..).zip(CUSTOMERS) {
        let account: String = name
            .to_lowercase()
            .chars()
            .filter(char::is_ascii)
            .map(|letter| if letter == ' ' { '.' } else { letter })
            .filter(|letter| *letter != '\'')
            .collect();
        insert.execute(params![
            name,
            format!("{account}@example.com"),
            city,
            country,
            index
        ])?;
    }
    let mut insert = connection
        .prepare("INSERT INTO products (sku, name, category, price_cents, stock) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (sku, name, category, price, stock) in PRODUCTS {
        insert.execute(params![sku, name, category, price, stock])?;
    }
    Ok(())
}

/// Orders follow from their number by arithmetic: some customers buy often, some never.
fn fill_orders(connection: &Connection) -> rusqlite::Result<()> {
    let mut order = connection.prepare(
        "INSERT INTO orders (id, customer_id, status, ordered_at)
         VALUES (?1, ?2, ?3, datetime('2025-01-06 08:30:00', '+' || (?1 * 263) || ' hours'))",
    )?;
    let mut item = connection.prepare(
        "INSERT INTO order_items (order_id, product_id, quantity, unit_price_cents)
         SELECT ?1, id, ?3, price_cents FROM products WHERE id = ?2",
    )?;
    for (number, status) in (1..=ORDERS).zip(STATUSES.iter().cycle()) {
        order.execute(params![number, 1 + (number * number) % 17, status])?;
        for line in 0..=(number % 3) {
            let product = 1 + (number * 4 + line * 7) % 15;
            item.execute(params![number, product, 1 + (number + line) % 4])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_made_once_and_the_same_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.db");
        assert!(create(&path).unwrap());
        assert!(!create(&path).unwrap());
        let names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["sample.db"]);
        let connection = Connection::open(&path).unwrap();
        let (counts, total): (String, i64) = connection
            .query_row(
                "SELECT (SELECT count(*) FROM customers) || ' ' || (SELECT count(*) FROM products) || ' ' ||
                        (SELECT count(*) FROM orders) || ' ' || (SELECT count(*) FROM order_items),
                        (SELECT sum(total_cents) FROM order_totals)",
                [],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .unwrap();
        assert_eq!(counts, "20 15 30 60");
        assert_eq!(total, 2_069_860);
    }

    #[test]
    fn what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.db");
        fs::write(&path, "mine").unwrap();
        assert!(!create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        let error = create(&folder.path().join("no/such/folder.db")).unwrap_err();
        assert!(error.to_string().contains("no/such/folder.db"), "{error}");
    }
}
