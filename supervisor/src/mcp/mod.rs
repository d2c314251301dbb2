//! MCP: the handler behind all three transports.
//!
//! # Contract
//! * One file per tool in `tools/`, one per transport here. Tools go through the same executions as
//!   REST does.
//! * What a model can correct comes back as a tool result with `isError`; only an unknown tool,
//!   resource or method is a protocol error.

mod cancelled;
pub mod http;
mod observed;
mod resources;
mod sessions;
pub mod sse;
pub mod stdio;
pub mod tools;

use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelledNotificationParam, Implementation,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer};

use crate::app::{SharedApp, VERSION};

/// The handler of one connection. Cheap to clone; all state is behind it.
#[derive(Debug, Clone)]
pub struct Mcp {
    app: SharedApp,
}

impl Mcp {
    /// A handler over the shared state.
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

impl ServerHandler for Mcp {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("mcp-v8", VERSION).with_title("mcp-v8"))
            .with_instructions(self.app.instructions())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::definitions(&self.app)))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        observed::call(&self.app, &request.name, arguments, context).await.map(Into::into)
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(resources::list()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        resources::read(&self.app, &request.uri).map(Into::into)
    }

    async fn on_cancelled(
        &self,
        cancelled: CancelledNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        cancelled::tell_others(&self.app, cancelled, &context.extensions);
    }

    async fn on_initialized(&self, _: NotificationContext<RoleServer>) {
        tracing::debug!("MCP client initialized");
    }
}
