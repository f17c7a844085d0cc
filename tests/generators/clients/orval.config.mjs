export default {
  baton: {
    input: "./openapi.json",
    output: { target: "./orval/client.ts", client: "fetch", baseUrl: process.env.BATON },
  },
};
