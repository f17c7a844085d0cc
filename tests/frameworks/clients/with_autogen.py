"""autogen-ext: it makes a pydantic model of each schema."""

import asyncio

import setting
from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient
from autogen_ext.tools.mcp import StreamableHttpServerParams, mcp_server_tools


async def tools_at(url: str) -> list:
    return await mcp_server_tools(StreamableHttpServerParams(url=url, headers=setting.HEADERS, timeout=60))


async def main() -> None:
    everything = await tools_at(setting.ALL)
    for tool in everything:
        tool.schema  # noqa: B018 - it is made when asked for
    model = OpenAIChatCompletionClient(
        model=setting.MODEL, base_url=setting.MODEL_URL, api_key="none", max_retries=0
    )
    agent = AssistantAgent(
        "roofer", model_client=model, tools=await tools_at(setting.CORE), max_tool_iterations=20
    )
    result = await agent.run(task=setting.TASK)
    await model.close()
    setting.done("autogen-ext", converted=len(everything), said=result.messages[-1].to_text())


asyncio.run(main())
