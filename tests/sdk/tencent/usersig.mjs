// A call signed by the official package for Node.js: usage node usersig.mjs <base> <app> <key>
import tls from "tls-sig-api-v2";

const [base, app, key] = process.argv.slice(2);

async function call(identifier, expire) {
  const usersig = new tls.Api(Number(app), key).genSig(identifier, expire);
  const query = new URLSearchParams({ sdkappid: app, identifier, usersig, contenttype: "json" });
  const url = `${base}/v4/openim/querystate?${query}`;
  const body = JSON.stringify({ To_Account: ["joon"] });
  return (await fetch(url, { method: "POST", body })).json();
}

function expect(what, given, expected) {
  if (given.ErrorCode !== expected) {
    throw new Error(`${what}: expected ${expected}, got ${JSON.stringify(given)}`);
  }
  console.log(`ok ${what}`);
}

expect("the admin's usersig is accepted", await call("administrator", 3600), 0);
expect("an expired one is 70001", await call("administrator", 0), 70001);
expect("a user who is no admin is 60010", await call("joon", 3600), 60010);
