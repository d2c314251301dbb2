//! MCP: the handler behind all three transports.
//!
//! # Contract
//! * One file per tool in `tools/`, one per transport here. Tools go through the same executions as
//!   REST does.
//! * A script that outlasts its call goes on as a task, where the client knows those.
//! * What a model can correct comes back as a tool result with `isError`; only an unknown tool,
//!   resource or method is a protocol error.

mod cancelled;
#[cfg(feature = "conformance")]
mod conformance;
pub mod http;
mod observed;
mod resources;
mod sessions;
pub mod sse;
pub mod stdio;
mod tasks;
pub mod tools;

use rmcp::ErrorData;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CancelledNotificationParam,
    Extensions, GetTaskParams, GetTaskResult, Implementation, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities,
    ServerConfig, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer};

use crate::access::{self, Principal};
use crate::app::{SharedApp, VERSION};

/// What answers a connection: the product, and in a build for the conformance suite fixtures before it.
#[cfg(not(feature = "conformance"))]
pub(crate) type Handler = Mcp;
/// What answers a connection: the product, with the fixtures of the conformance suite before it.
#[cfg(feature = "conformance")]
pub(crate) type Handler = conformance::Fixtures;

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
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_resources().enable_tasks().build();
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
        mut context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let by = self.caller(&context.extensions)?;
        // Its client may go away, and then nobody waits for the end of this.
        cancelled::answered(&mut context.extensions);
        let arguments = request.arguments.unwrap_or_default();
        observed::call(&self.app, by, &request.name, arguments, context).await
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

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        let by = self.caller(&context.extensions)?;
        tasks::get(&self.app, by, &request.task_id).await
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let by = self.caller(&context.extensions)?;
        tasks::update(&self.app, by, &request.task_id).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        let by = self.caller(&context.extensions)?;
        tasks::cancel(&self.app, by, &request.task_id).await
    }

    async fn on_cancelled(
        &self,
        cancelled: CancelledNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        cancelled::tell_others(&self.app, cancelled, context.extensions);
    }

    async fn on_initialized(&self, _: NotificationContext<RoleServer>) {
        tracing::debug!("MCP client initialized");
    }
}
