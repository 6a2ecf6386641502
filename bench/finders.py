"""One tool, one folder, in a process of its own: python finders.py TOOL FOLDER → a line of JSON: seconds and pairs

The time is that of the call, from files to pairs; importing the library is not counted, for any of them.
"""
import json, logging, sys, time
from itertools import combinations


def pairs_of(groups): return {tuple(sorted(pair)) for files in groups for pair in combinations(files, 2)}


def fastcnn(folder):
    "All files of a group are pairs"
    import pandas, scipy.ndimage, scipy.sparse.csgraph # what the call imports lazily is import time here too
    from fastcnn.duplicates import find_duplicates
    def call():
        found = find_duplicates(folder)
        return pairs_of([file.split('/')[1] for file in files] for _, files in found.groupby('group').file)
    return call


def _imagededup(method, folder):
    import imagededup.methods
    finder = getattr(imagededup.methods, method)(verbose=False)
    def call():
        found = finder.find_duplicates(image_dir=f'{folder}/a', max_distance_threshold=10)
        return {tuple(sorted((file, other))) for file, others in found.items() for other in others}
    return call


def imagededup_phash(folder): return _imagededup('PHash', folder)
def imagededup_dhash(folder): return _imagededup('DHash', folder)


def cleanvision(folder):
    from cleanvision import Imagelab
    def call():
        lab = Imagelab(data_path=f'{folder}/a', verbose=False)
        lab.find_issues({'exact_duplicates': {}, 'near_duplicates': {}}, verbose=False)
        sets = [one for kind in ('exact_duplicates', 'near_duplicates') for one in lab.info[kind]['sets']]
        return pairs_of([file.rsplit('/', 1)[1] for file in files] for files in sets)
    return call


TOOLS = (fastcnn, imagededup_phash, imagededup_dhash, cleanvision)

if __name__ == '__main__':
    logging.disable(logging.INFO)
    call = {tool.__name__: tool for tool in TOOLS}[sys.argv[1]](sys.argv[2])
    start = time.perf_counter()
    pairs = call()
    seconds = time.perf_counter() - start
    print(json.dumps(dict(seconds=seconds, pairs=sorted(map(list, pairs)))))
