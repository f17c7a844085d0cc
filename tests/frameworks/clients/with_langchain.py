"""langchain-mcp-adapters in an agent of LangGraph; every tool converted for OpenAI, strictly too."""

import asyncio

import setting
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import create_react_agent


async def tools_at(url: str) -> list:
    client = MultiServerMCPClient(
        {"baton": {"transport": "streamable_http", "url": url, "headers": setting.HEADERS}}
    )
    return await client.get_tools()


async def main() -> None:
    everything = await tools_at(setting.ALL)
    for tool in everything:
        convert_to_openai_tool(tool)
    for tool in await tools_at(f"{setting.ALL}?strict=true"):
        convert_to_openai_tool(tool, strict=True)
    model = ChatOpenAI(model=setting.MODEL, base_url=setting.MODEL_URL, api_key="none", max_retries=0)
    tools = await tools_at(setting.CORE)
    for tool in tools:
        tool.handle_tool_error = True
    agent = create_react_agent(model, tools)
    result = await agent.ainvoke({"messages": [("user", setting.TASK)]}, {"recursion_limit": 40})
    setting.done("langchain-mcp-adapters", converted=len(everything), said=result["messages"][-1].text)


asyncio.run(main())
