"""openai-agents, in strict mode: the schemas of `?strict=true`, and its own conversion on top."""

import asyncio

import setting
from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp, MCPUtil
from openai import AsyncOpenAI


def server(url: str) -> MCPServerStreamableHttp:
    return MCPServerStreamableHttp(
        params={"url": url, "headers": setting.HEADERS},
        client_session_timeout_seconds=60,
        cache_tools_list=True,
    )


async def main() -> None:
    set_tracing_disabled(True)
    model = OpenAIChatCompletionsModel(
        model=setting.MODEL,
        openai_client=AsyncOpenAI(base_url=setting.MODEL_URL, api_key="none", max_retries=0),
    )
    async with server(f"{setting.ALL}?strict=true") as everything:
        tools = [
            MCPUtil.to_function_tool(tool, everything, convert_schemas_to_strict=True)
            for tool in await everything.list_tools()
        ]
        loose = [tool.name for tool in tools if not tool.strict_json_schema]
        if loose:
            setting.fail(f"not strict: {loose}")
    async with server(f"{setting.CORE}&strict=true") as core:
        agent = Agent(
            name="roofer", model=model, mcp_servers=[core], mcp_config={"convert_schemas_to_strict": True}
        )
        result = await Runner.run(agent, setting.TASK, max_turns=20)
    setting.done("openai-agents", converted=len(tools), said=result.final_output)


asyncio.run(main())
