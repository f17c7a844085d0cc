"""llama-index-tools-mcp: it shows a model null as the default of what is optional."""

import asyncio

import setting
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.llms.openai import OpenAI
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec


async def tools_at(url: str) -> list:
    return await McpToolSpec(client=BasicMCPClient(url, headers=setting.HEADERS)).to_tool_list_async()


async def main() -> None:
    everything = await tools_at(setting.ALL)
    for tool in everything:
        tool.metadata.to_openai_tool(skip_length_check=True)
    model = OpenAI(model=setting.MODEL, api_base=setting.MODEL_URL, api_key="none", max_retries=0)
    agent = FunctionAgent(tools=await tools_at(setting.CORE), llm=model, streaming=False)
    result = await agent.run(setting.TASK, max_iterations=20)
    setting.done("llama-index-tools-mcp", converted=len(everything), said=str(result))


asyncio.run(main())
