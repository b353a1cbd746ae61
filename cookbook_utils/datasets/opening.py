"""tmp"""
from typing import Any
from cookbook_utils.datasets._access import require_storage_options
from cookbook_utils.datasets._loading import load_scenes
from cookbook_utils.datasets._rasters import raster_scene
from cookbook_utils.datasets._scale import Given

def open_scene(source, *, bands=None, date=None, scale=None, offset=None, nodata=None, storage_options=None, **kw):
    o=require_storage_options(storage_options)
    s=raster_scene(source,bands=bands,given=Given(scale,offset,nodata),date=date,options=o)
    return load_scenes([s],options=o,**kw).isel(time=0)
