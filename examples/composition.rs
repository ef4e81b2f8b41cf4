//! Pattern 3, composition: one server out of several. An import is a copy; a mount is a live link.
//!
//! Run with: `cargo run -p fastmcp-examples --bin composition`

use std::collections::BTreeMap;

use fastmcp::prelude::*;

/// A forecast.
#[derive(Serialize, JsonSchema)]
struct Forecast {
    city: String,
    temp: i32,
    condition: &'static str,
}

/// Tells the weather of a city.
#[tool]
async fn get_forecast(city: String) -> Forecast {
    Forecast {
        city,
        temp: 22,
        condition: "sunny",
    }
}

/// The cities that are known.
#[resource("weather://cities", mime_type = "application/json")]
async fn cities() -> String {
    json!(["London", "Paris", "Tokyo"]).to_string()
}

/// Runs a query.
#[tool(read_only)]
async fn query(sql: String) -> Vec<BTreeMap<String, String>> {
    vec![BTreeMap::from([("sql".to_owned(), sql)])]
}

/// What the database did today.
#[resource("data://stats", mime_type = "application/json")]
async fn stats() -> String {
    json!({"queries_today": 1000}).to_string()
}

/// Says whether the platform is well.
#[tool(inline)]
fn health_check() -> &'static str {
    "healthy"
}

fn platform() -> Result<Server> {
    let weather = FastMcp::new("Weather")
        .tool(get_forecast)
        .resource(cities)
        .build()?;
    let database = FastMcp::new("Database")
        .tool(query)
        .resource(stats)
        .build()?;
    FastMcp::new("Platform")
        // A copy: nothing stands between a call and its handler.
        .import_server(&database, "db")
        // A live link: what comes and goes there, comes and goes here.
        .mount(&weather, "weather")
        .tool(health_check)
        .build()
}

#[tokio::main]
async fn main() -> Result<()> {
    platform()?.serve_stdio().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_bear_the_prefix_of_their_server() {
        let client = Client::connect(&platform().unwrap()).await.unwrap();
        let tools = client.list_tools().await.unwrap();
        let mut names: Vec<_> = tools.iter().map(|tool| tool.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["db_query", "health_check", "weather_get_forecast"]);
        let resources = client.list_resources().await.unwrap();
        let mut uris: Vec<_> = resources.iter().map(|one| one.uri.as_str()).collect();
        uris.sort_unstable();
        assert_eq!(uris, ["data://db/stats", "weather://weather/cities"]);
    }

    #[tokio::test]
    async fn what_is_added_to_a_mounted_server_is_there_at_once() {
        let child = FastMcp::new("Plugins").build().unwrap();
        let main = FastMcp::new("Main").mount(&child, None).build().unwrap();
        let client = Client::connect(&main).await.unwrap();
        child.add_tool(health_check).unwrap();
        let health = client.call_tool("health_check", json!({})).await.unwrap();
        assert_eq!(health.data::<String>().unwrap(), "healthy");
    }
}
