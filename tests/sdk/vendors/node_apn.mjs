// @parse/node-apn: `address`, `port` and `ca` are its documented options. It signs in with a key
// and then with a certificate.
import assert from 'node:assert/strict';
import apn from '@parse/node-apn';
import { TITLE, TEXT, credential, endpoint, shown, uninstall } from './world.mjs';

const phone = '0a'.repeat(32);
const other = '0b'.repeat(32);
const gone = '0c'.repeat(32);
const { hostname: address, port } = endpoint('apns');
const server = { address, port, ca: 'out/ca.pem' };
const { key, key_id: keyId, team_id: teamId, bundle_id: topic } = credential('certs/apns');
const { data: pkcs12, password: passphrase } = credential('more/apns-p12-1');

const note = new apn.Notification();
Object.assign(note, { topic, pushType: 'alert', priority: 10, collapseId: 'chat-7', badge: 3 });
note.alert = { title: TITLE, body: TEXT };
note.expiry = Math.floor(Date.now() / 1000) + 3600;
note.payload = { ext: 'open/chat-7' };

async function send(signIn, to) {
    const provider = new apn.Provider({ ...signIn, ...server });
    const result = await provider.send(note, [to, gone]);
    await provider.shutdown();
    const sent = result.sent.map(({ device }) => device);
    assert.deepEqual(sent, [to], JSON.stringify(result.failed));
    const refusal = ({ device, status, response }) => [device, status, response?.reason];
    const failed = result.failed.map(refusal);
    assert.deepEqual(failed, [[gone, 410, 'Unregistered']]);
    assert.equal((await shown('apns', to)).replaces, 'chat-7');
}

await uninstall('apns', gone);
await send({ token: { key, keyId, teamId } }, phone);
console.log('ok @parse/node-apn with a key');
await send({ pfx: Buffer.from(pkcs12, 'base64'), passphrase }, other);
console.log('ok @parse/node-apn with a certificate');
