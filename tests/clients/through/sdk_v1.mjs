// @modelcontextprotocol/sdk, which knows revisions up to 2025-11-25: node sdk_v1.mjs URL
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { repeat } from './scenario.mjs';

const [url] = process.argv.slice(2);

await repeat(async () => {
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const call = (name, args, options) => client.callTool({ name, arguments: args }, undefined, options);
  return { client, call };
});
