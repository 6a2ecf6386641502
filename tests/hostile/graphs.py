"Graphs that mean harm, and the folders of models that hold them"
import hashlib, json, shutil
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def seal(folder, **changes):
    "Write config.json with checksums that fit, as whoever means harm does"
    config = {k: v for k, v in json.loads((folder/'config.json').read_text()).items() if k != 'sha256'} | changes
    names = [name for name in ('model.onnx', 'model.safetensors', 'README.md') if name in config['files']]
    config['files'] = {name: hashlib.sha256((folder/name).read_bytes()).hexdigest() for name in names}
    own = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    (folder/'config.json').write_text(json.dumps(config | dict(sha256=own), indent=1))


def with_graph(model, folder, graph):
    "A copy of a model with another graph"
    made = Path(shutil.copytree(model, folder))
    (made/'model.onnx').write_bytes(graph)
    seal(made, none_of_these=None)
    return made


def graph(nodes, *constants, sparse=(), functions=()):
    "The bytes of a graph with the right input and output"
    image = helper.make_tensor_value_info('image', TensorProto.UINT8, ['N', 'H', 'W', 3])
    answer = helper.make_tensor_value_info('probabilities', TensorProto.FLOAT, ['N', 2])
    made = helper.make_graph(nodes, 'g', [image], [answer], list(constants), sparse_initializer=list(sparse))
    ids = [helper.make_opsetid('', 18)] + [helper.make_opsetid('f', 1)]*bool(functions)
    return helper.make_model(made, opset_imports=ids, ir_version=10, functions=list(functions)).SerializeToString()


def constant(name, values, kind=np.float32): return numpy_helper.from_array(np.array(values, kind), name)
def node(kind, inputs, output, **more): return helper.make_node(kind, inputs.split(), [output], **more)
FAIR = constant('p', [[.5, .5]])


def products(side=5000, often=40):
    "Products of constant matrices: what folds them at load time computes for minutes"
    nodes = [node('ConstantOfShape', 's', 'm0'), *(node('MatMul', f'm{i} m0', f'm{i + 1}') for i in range(often))]
    nodes += [node('ReduceMean', f'm{often}', 'mean', keepdims=0), node('Mul', 'p mean', 'none'), node('Add', 'p none', 'probabilities')]
    return graph(nodes, FAIR, constant('s', [side, side], np.int64))


def one_long_product(side=12_000):
    "One operator that takes minutes, and cannot be stopped"
    nodes = [node('ConstantOfShape', 's', 'm'), node('MatMul', 'm m', 'n'), node('ReduceMean', 'n', 'mean', keepdims=0),
             node('Mul', 'p mean', 'none'), node('Add', 'p none', 'probabilities')]
    return graph(nodes, FAIR, constant('s', [side, side], np.int64))


def copies(depth=40):
    "Functions, each of which calls the one below twice"
    ids = [helper.make_opsetid('', 18), helper.make_opsetid('f', 1)]
    bodies = [[node('Identity', 'x', 'y')]]
    bodies += [[node(f'f{i}', 'x', 't', domain='f'), node(f'f{i}', 't', 'y', domain='f')] for i in range(depth)]
    made = [helper.make_function('f', f'f{i}', ['x'], ['y'], body, ids) for i, body in enumerate(bodies)]
    return graph([node(f'f{depth}', 'p', 'probabilities', domain='f')], FAIR, functions=made)


def looping(often=10**12):
    "A loop that never ends, all of constants"
    kinds = dict(i=TensorProto.INT64, c=TensorProto.BOOL, v=TensorProto.FLOAT, c2=TensorProto.BOOL, v2=TensorProto.FLOAT)
    value = lambda name, shape: helper.make_tensor_value_info(name, kinds[name], shape)
    body = helper.make_graph([node('Identity', 'c', 'c2'), node('Identity', 'v', 'v2')], 'body',
                             [value('i', []), value('c', []), value('v', [1, 2])], [value('c2', []), value('v2', [1, 2])])
    return graph([node('Loop', 'often yes p', 'probabilities', body=body)], FAIR,
                 numpy_helper.from_array(np.array(often), 'often'), numpy_helper.from_array(np.array(True), 'yes'))


def branching(depth=20):
    "Choices within choices"
    def body(left, name):
        out = [helper.make_tensor_value_info(f'o{name}', TensorProto.FLOAT, [1, 2])]
        last = [node('Identity', 'p', f'o{name}')]
        inner = [node('If', 'c', f'o{name}', then_branch=body(left - 1, name + 'a'), else_branch=body(0, name + 'b'))] if left else last
        return helper.make_graph(inner, 'b', [], out)
    return graph([node('If', 'c', 'probabilities', then_branch=body(depth, 'x'), else_branch=body(0, 'y'))], FAIR, constant('c', True, bool))


def sparse(size=2**33):
    "One number that unpacks to 32 GiB"
    values, places = constant('p2', [.5]), constant('i', [0], np.int64)
    tensor = helper.make_sparse_tensor(values, places, [1, size])
    tensor.values.name = 'w'
    return graph([node('Slice', 'w a b c', 'probabilities')], constant('a', [0], np.int64), constant('b', [2], np.int64),
                 constant('c', [1], np.int64), sparse=[tensor])


def sparse_constant(size=2**33):
    tensor = helper.make_sparse_tensor(constant('v', [.5]), constant('i', [0], np.int64), [1, size])
    return graph([node('Constant', '', 'w', sparse_value=tensor), node('Slice', 'w a b c', 'probabilities')],
                 constant('a', [0], np.int64), constant('b', [2], np.int64), constant('c', [1], np.int64))


def elsewhere(place, where='initializer'):
    "Weights that lie in another file"
    stored = TensorProto(name='p', data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    for key, value in dict(location=str(place), offset='0', length='8').items(): stored.external_data.add(key=key, value=value)
    if where == 'initializer': return graph([node('Identity', 'p', 'probabilities')], stored)
    if where == 'attribute': return graph([node('Constant', '', 'q', value=stored), node('Identity', 'q', 'probabilities')])
    tensor = helper.make_sparse_tensor(constant('v', [.5]), constant('i', [0], np.int64), [1, 2])
    tensor.values.CopyFrom(stored)
    return graph([node('Identity', 'p', 'probabilities')], sparse=[tensor])


def huge_and_empty():
    "A tensor that says that it is large, and holds nothing"
    return graph([node('Slice', 'w a b c', 'probabilities')], TensorProto(name='w', data_type=TensorProto.FLOAT, dims=[2**20, 2**20]),
                 *(constant(name, [k], np.int64) for k, name in enumerate('abc')))


def endless_list(often=300_000):
    nodes = [node('Relu', 'p' if i == 0 else f'n{i}', f'n{i + 1}' if i < often - 1 else 'probabilities') for i in range(often)]
    return graph(nodes, FAIR)


def of_another_format(): return b'\x00\x00\x00\x00ORTM' + bytes(5000)
def of_another_library(): return graph([node('Evil', 'image', 'probabilities', domain='com.microsoft')])


REFUSED = [copies, looping, branching, sparse, sparse_constant, huge_and_empty, of_another_format, of_another_library]
