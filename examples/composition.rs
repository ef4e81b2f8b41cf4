//! Pattern 3, composition: one server out of several. An import is a copy; a mount is a live link.
//!
//! Run with: `cargo run -p fastmcp-examples --bin composition`

use fastmcp::prelude::*;
use tokio::time::Instant;

/// A forecast.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Forecast {
    city: String,
    temp: i32,
    condition: String,
}

/// Tells the weather of a city.
#[tool(read_only)]
async fn get_forecast(city: String) -> Forecast {
    Forecast {
        city,
        temp: 22,
        condition: "sunny".to_owned(),
    }
}

/// The cities that are known.
#[resource("weather://cities", mime_type = "application/json")]
async fn list_cities() -> Json<[&'static str; 3]> {
    Json(["London", "Paris", "Tokyo"])
}

/// A row of a table.
#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Row {
    id: u32,
    name: String,
}

/// Runs a query.
#[tool(read_only)]
async fn query(sql: String, ctx: Context) -> Vec<Row> {
    ctx.debug(format!("running {sql}")).await;
    vec![Row {
        id: 1,
        name: "Alice".to_owned(),
    }]
}

/// What the database did today.
#[resource("db://stats", mime_type = "application/json")]
async fn get_stats() -> Json<serde_json::Value> {
    Json(json!({"queries_today": 1000}))
}

/// How the platform is.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Health {
    status: String,
    uptime_seconds: u64,
}

/// Since when it runs.
struct Begun(Instant);

/// Says whether the platform is well.
#[tool(read_only)]
async fn health_check(begun: State<Begun>) -> Health {
    Health {
        status: "healthy".to_owned(),
        uptime_seconds: begun.0.0.elapsed().as_secs(),
    }
}

fn platform() -> Result<Server> {
    let weather = FastMcp::new("Weather")
        .tool(get_forecast)
        .resource(list_cities)
        .build()?;
    let database = FastMcp::new("Database")
        .tool(query)
        .resource(get_stats)
        .build()?;
    FastMcp::new("Platform")
        // A copy: nothing stands between a call and its handler.
        .import_server(&database, "db")
        // A live link: what comes and goes there, comes and goes here.
        .mount(&weather, "weather")
        .state(Begun(Instant::now()))
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
        assert_eq!(uris, ["db://db/stats", "weather://weather/cities"]);
    }

    #[tokio::test]
    async fn each_part_answers_through_the_whole() {
        let client = Client::connect(&platform().unwrap()).await.unwrap();
        let rows = client
            .call_tool("db_query", json!({"sql": "SELECT * FROM users"}))
            .await;
        assert_eq!(rows.unwrap().data::<Vec<Row>>().unwrap()[0].name, "Alice");
        let forecast = client
            .call_tool("weather_get_forecast", json!({"city": "London"}))
            .await;
        assert_eq!(
            forecast.unwrap().data::<Forecast>().unwrap().condition,
            "sunny"
        );
        let health = client.call_tool("health_check", json!({})).await.unwrap();
        assert_eq!(health.data::<Health>().unwrap().status, "healthy");
    }

    #[tokio::test]
    async fn what_is_added_to_a_mounted_server_is_there_at_once() {
        let plugins = FastMcp::new("Plugins").build().unwrap();
        // Without a prefix, tools appear with their own names.
        let main = FastMcp::new("Main").mount(&plugins, None).build().unwrap();
        let client = Client::connect(&main).await.unwrap();
        plugins.add_tool(get_forecast).unwrap();
        let told = client
            .call_tool("get_forecast", json!({"city": "Paris"}))
            .await
            .unwrap();
        assert_eq!(told.data::<Forecast>().unwrap().city, "Paris");
    }
}
