"""strands-agents."""

import setting
from mcp.client.streamable_http import streamablehttp_client
from strands import Agent
from strands.models.openai import OpenAIModel
from strands.tools.mcp import MCPClient


def client(url: str) -> MCPClient:
    return MCPClient(lambda: streamablehttp_client(url, headers=setting.HEADERS))


with client(setting.ALL) as everything:
    converted = [tool.tool_spec for tool in everything.list_tools_sync()]
with client(setting.CORE) as core:
    model = OpenAIModel(
        client_args={"api_key": "none", "base_url": setting.MODEL_URL}, model_id=setting.MODEL
    )
    agent = Agent(model=model, tools=core.list_tools_sync(), callback_handler=None)
    result = agent(setting.TASK)
setting.done("strands-agents", converted=len(converted), said=str(result).strip())
