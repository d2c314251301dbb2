//! What the MCP conformance suite expects at a server under test: tools, resources and prompts of known
//! names and contents.
//!
//! # Contract
//! * Only a build with the cargo feature `conformance` has any of it.
//! * [`Fixtures`] stands where [`Mcp`] stands in the product: behind the same router, transports and
//!   sessions. Whatever it has no fixture for, the product answers.
//! * The fixtures of tasks that run for a while are executions: their tasks are the product's.

mod asking;
mod calls;
mod changes;
mod jobs;
mod media;
mod prompts;
mod resources;
mod rounds;
mod seal;

use std::sync::Arc;

use rmcp::ErrorData;
use rmcp::ServerHandler;
#[expect(deprecated, reason = "older revisions have logging")]
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, CancelledNotificationParam,
    CompleteRequestParams, CompleteResult, GetPromptRequestParams, GetPromptResponse,
    GetTaskParams, GetTaskResult, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProtocolVersion,
    ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    SetLevelRequestMethod, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
    UnsubscribeRequestParams, UpdateTaskParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleServer, SubscriptionContext};
use serde::de::DeserializeOwned;
use serde_json::Value;

use self::changes::Changes;
use self::jobs::Jobs;
use self::seal::Seal;
use super::Mcp;
use crate::app::SharedApp;

/// The product with the fixtures before it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fixtures {
    product: Mcp,
    state: Arc<State>,
}

/// What fixtures remember from one request to the next.
#[derive(Debug, Default)]
struct State {
    jobs: Jobs,
    changes: Changes,
    seal: Seal,
}

/// How every call comes to a fixture.
struct Call<'a> {
    fixtures: &'a Fixtures,
    request: CallToolRequestParams,
    context: RequestContext<RoleServer>,
}

/// How every fixture answers a call.
type Reply = Result<CallToolResponse, ErrorData>;

impl Fixtures {
    /// Over the shared state.
    pub fn new(app: SharedApp) -> Self {
        Self { product: Mcp::new(app), state: Arc::default() }
    }

    /// For the only client there is.
    pub fn local(app: SharedApp) -> Self {
        Self { product: Mcp::local(app), state: Arc::default() }
    }
}

/// A type of the library from its JSON.
fn made<T: DeserializeOwned>(json: Value) -> Result<T, ErrorData> {
    serde_json::from_value(json).map_err(|error| {
        ErrorData::internal_error(format!("a fixture is not what it should be: {error}"), None)
    })
}

/// Whether the request is of a revision without sessions, and so without what was replaced in it.
fn is_stateless(context: &RequestContext<RoleServer>) -> bool {
    let version = context.protocol_version();
    version.is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str())
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let mut info = self.product.get_info();
        #[expect(deprecated, reason = "older revisions have logging")]
        let builder = ServerCapabilities::builder().enable_logging();
        info.capabilities = builder
            .enable_completions()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_tasks()
            .build();
        info
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        calls::definitions().ok()?.into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = self.product.list_tools(page, context).await?;
        list.tools.extend(calls::definitions()?);
        Ok(list)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Reply {
        Box::pin(calls::call(Call { fixtures: self, request, context })).await
    }

    async fn list_resources(
        &self,
        page: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut list = self.product.list_resources(page, context).await?;
        list.resources.extend(resources::list()?);
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        resources::templates()
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match resources::read(&request.uri)? {
            Some(read) => Ok(read.into()),
            None => self.product.read_resource(request, context).await,
        }
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        resources::known(&request.uri)
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        resources::known(&request.uri)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        prompts::list()
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(request, &context)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        prompts::complete(&request)
    }

    #[expect(deprecated, reason = "older revisions have logging")]
    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if is_stateless(&context) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(asked.clone())
    }

    async fn listen(&self, subscription: SubscriptionContext) -> Result<(), ErrorData> {
        self.state.changes.tell(&subscription).await;
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        match self.state.jobs.get(&request.task_id) {
            Some(task) => Ok(task),
            None => self.product.get_task(request, context).await,
        }
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.state.jobs.answer(&request.task_id, &request.input_responses) {
            return Ok(());
        }
        self.product.update_task(request, context).await
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if self.state.jobs.cancel(&request.task_id) {
            return Ok(());
        }
        self.product.cancel_task(request, context).await
    }

    async fn on_cancelled(
        &self,
        cancelled: CancelledNotificationParam,
        context: NotificationContext<RoleServer>,
    ) {
        self.product.on_cancelled(cancelled, context).await;
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        self.product.on_initialized(context).await;
    }
}
