"""pydantic-ai; every tool through what it makes of schemas for OpenAI and for Gemini."""

import asyncio

import setting
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.google import GoogleJsonSchemaTransformer
from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer
from pydantic_ai.providers.openai import OpenAIProvider


async def main() -> None:
    async with MCPToolset(setting.ALL, headers=setting.HEADERS) as everything:
        tools = await everything.list_tools()
    for tool in tools:
        schema = getattr(tool, "input_schema", None) or tool.inputSchema
        GoogleJsonSchemaTransformer(schema).walk()
        OpenAIJsonSchemaTransformer(schema).walk()
    async with MCPToolset(f"{setting.ALL}?strict=true", headers=setting.HEADERS) as everything:
        for tool in await everything.list_tools():
            schema = getattr(tool, "input_schema", None) or tool.inputSchema
            transformer = OpenAIJsonSchemaTransformer(schema, strict=None)
            transformer.walk()
            if not transformer.is_strict_compatible:
                setting.fail(f"not strict to pydantic-ai: {tool.name}")
    model = OpenAIChatModel(
        setting.MODEL, provider=OpenAIProvider(base_url=setting.MODEL_URL, api_key="none")
    )
    core = MCPToolset(setting.CORE, headers=setting.HEADERS)
    agent = Agent(model, toolsets=[core], retries=3)
    async with agent:
        result = await agent.run(setting.TASK)
    setting.done("pydantic-ai-slim", converted=len(tools), said=result.output)


asyncio.run(main())
