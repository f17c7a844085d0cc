"""smolagents, through mcpadapt: it asks its model for every argument, so that the schemas must allow a null."""

import setting
from smolagents import MCPClient, OpenAIServerModel, ToolCallingAgent


def client(url: str) -> MCPClient:
    return MCPClient(
        {"url": url, "transport": "streamable-http", "headers": setting.HEADERS}, structured_output=False
    )


with client(setting.ALL) as everything:
    converted = len(everything)
with client(f"{setting.CORE}&strict=true") as tools:
    model = OpenAIServerModel(model_id=setting.MODEL, api_base=setting.MODEL_URL, api_key="none")
    agent = ToolCallingAgent(tools=tools, model=model, max_steps=20, verbosity_level=0)
    said = agent.run(setting.TASK)
setting.done("smolagents", converted=converted, said=str(said))
