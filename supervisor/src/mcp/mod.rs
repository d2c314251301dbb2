//! MCP: the handler behind all three transports.
//!
//! # Contract
//! * One file per tool in `tools/`, one per transport here. Tools go through the same executions as
//!   REST does.
//! * What a model can correct comes back as a tool result with `isError`; only an unknown tool,
//!   resource or method is a protocol error.

mod cancelled;
pub mod http;
mod resources;
mod sessions;
pub mod sse;
pub mod stdio;
pub mod tools;

use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelledNotificationParam, Extensions,
    Implementation, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer};

use crate::access::{self, Principal};
use crate::app::{SharedApp, VERSION};

/// The handler of one connection. Cheap to clone; all state is behind it.
#[derive(Debug, Clone)]
pub struct Mcp {
    app: SharedApp,
    /// For whom requests are that did not come by HTTP.
    local: Option<Principal>,
}

impl Mcp {
    /// A handler of requests that come by HTTP, and say for whom.
    pub fn new(app: SharedApp) -> Self {
        Self { app, local: None }
    }

    /// A handler of the only client there is.
    pub fn local(app: SharedApp) -> Self {
        Self { app, local: Some(Principal::EVERYBODY) }
    }

    /// For whom a request is.
    fn caller(&self, extensions: &Extensions) -> Result<Principal, ErrorData> {
        let granted = match extensions.get::<axum::http::request::Parts>() {
            Some(parts) => access::granted(parts).map(|granted| granted.principal),
            None => self.local,
        };
        // Every way here passes by `access::check`; one that does not is closed.
        granted.ok_or_else(|| ErrorData::internal_error("the caller is not known", None))
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
        let by = self.caller(&context.extensions)?;
        let arguments = request.arguments.unwrap_or_default();
        // Boxed: the futures of the tools are large, and this one is held by value in many places.
        Box::pin(tools::call(&self.app, by, &request.name, arguments, context))
            .await
            .map(Into::into)
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
