"What the tests of hostile input share: a sandbox, and beside it files that nobody may change, move, delete or carry off"
import pytest
from faults import jpeg

SECRET = 'a secret that must not leave this folder'


def everything(folder):
    "All that lies in a folder, links unfollowed: name → what it is, or its bytes"
    return {path.relative_to(folder).as_posix(): f'link to {path.readlink()}' if path.is_symlink()
            else path.read_bytes() if path.is_file() else path.is_dir() for path in sorted(folder.rglob('*'))}


@pytest.fixture
def outside(tmp_path):
    "A home folder with a key, a picture and a shell's settings, which is the same after the test as before"
    folder = tmp_path/'outside'
    for name in ('.ssh', 'private', 'work/.git'): (folder/name).mkdir(parents=True)
    (folder/'.ssh'/'id_rsa').write_text(SECRET)
    (folder/'.bashrc').write_text('export EDITOR=vi\n')
    (folder/'private'/'picture.jpg').write_bytes(jpeg(2026, (64, 48)))
    (folder/'work'/'config.json').write_text('{"name": "my web project"}')
    (folder/'work'/'.git'/'HEAD').write_text('ref: refs/heads/main\n')
    before = everything(folder)
    yield folder
    assert everything(folder) == before, 'something outside the sandbox was changed'


def holds_secret(folder):
    "Whether what the canary keeps has got into a folder"
    return any(SECRET.encode() in path.read_bytes() for path in folder.rglob('*') if path.is_file())
