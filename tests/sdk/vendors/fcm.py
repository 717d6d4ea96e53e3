"""google-auth signs in where the service account's `token_uri` says and carries a plain v1 send;
pyfcm makes the message itself, and the class attribute with Google's address is overridden."""

from google.auth.transport.requests import AuthorizedSession
from google.oauth2.service_account import Credentials
from pyfcm import FCMNotification
from pyfcm.errors import FCMNotRegisteredError

from world import TEXT, TITLE, credential, endpoint, shown, token_endpoint, uninstall

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
PHONE = "fcm-token:of_a-phone"
OTHER = "fcm-token:of_another-phone"
GONE = "fcm-token:of_nobody"
ACCOUNT = credential("fcm")["json"] | {"token_uri": token_endpoint("fcm")}
PROJECTS = f"{endpoint('fcm')}/v1/projects"


def signed_in():
    """Fresh credentials: each client asks for its own access token."""
    return Credentials.from_service_account_info(ACCOUNT, scopes=[SCOPE])


class Client(FCMNotification):
    """pyfcm that talks to the simulator."""

    FCM_END_POINT_BASE = PROJECTS


def google_auth():
    session = AuthorizedSession(signed_in())
    url = f"{PROJECTS}/{ACCOUNT['project_id']}/messages:send"

    def send(token):
        note = {"title": TITLE, "body": TEXT}
        android = {"priority": "HIGH", "ttl": "3600s", "notification": {"tag": "chat-7"}}
        message = {"token": token, "notification": note, "android": android, "data": {"ext": "x"}}
        return session.post(url, json={"message": message})

    answer = send(PHONE)
    assert answer.status_code == 200, answer.text
    assert answer.json()["name"].startswith(f"projects/{ACCOUNT['project_id']}/messages/")
    assert shown("fcm", PHONE)["replaces"] == "chat-7"
    assert (gone := send(GONE)).status_code == 404, gone.text
    assert gone.json()["error"]["details"][0]["errorCode"] == "UNREGISTERED", gone.text
    print("ok google-auth")


def pyfcm():
    client = Client(credentials=signed_in(), project_id=ACCOUNT["project_id"])
    words = {"notification_title": TITLE, "notification_body": TEXT}
    android = {"priority": "high", "ttl": "3600s", "collapse_key": "chat"}
    answer = client.notify(
        fcm_token=OTHER, data_payload={"ext": "x"}, android_config=android, **words
    )
    assert answer["name"].startswith("projects/"), answer
    shown("fcm", OTHER)
    try:
        client.notify(fcm_token=GONE, **words)
    except FCMNotRegisteredError:
        print("ok pyfcm")
    else:
        raise AssertionError("a dead token was taken")


uninstall("fcm", GONE)
google_auth()
pyfcm()
