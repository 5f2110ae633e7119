"""Recipes: how TA-Lib computes an indicator of pandas-ta, where both mean the same.

An indicator is what pandas-ta says it is. Each recipe here was compared with
pandas-ta's own formula on liquid and illiquid instruments and agrees to 1e-9
of the value on every bar that both have one for (the Hilbert transforms and
the regression's angle to 1e-7, where nearly equal numbers are subtracted).
TA-Lib's MACD, CMO or TRIMA start or smooth otherwise, its MFI and BOP read an
unchanged price otherwise, so they are not used. Where TA-Lib begins a bar or
more later (kama, stoch, uo), its beginning counts. A band without width has
no place inside it: NaN, where pandas-ta says one or infinity.

This room holds names and numbers; `breeze_lab.indicators.kernels` loads TA-Lib.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RECIPES", "Part", "Recipe"]


@dataclass(frozen=True, slots=True)
class Part:
    """One function of TA-Lib.

    Parameters
    ----------
    function
        TA-Lib's name.
    inputs
        Initials of the columns it reads, in its order: ``"hlc"``.
    options
        TA-Lib's parameter: the name of ours, or a constant.
    """

    function: str
    inputs: str
    options: Mapping[str, str | float]

    def arguments(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return what TA-Lib is called with."""
        return {
            theirs: parameters[ours] if isinstance(ours, str) else ours
            for theirs, ours in self.options.items()
        }


@dataclass(frozen=True, slots=True)
class Recipe:
    """TA-Lib's functions, and pandas-ta's columns made of their outputs.

    Parameters
    ----------
    parts
        The outputs of all of them are counted through.
    columns
        pandas-ta's name, with its parameters in braces, and the number of the output or a function
        of all outputs and of the closes, for numbers and arrays alike.
    """

    parts: tuple[Part, ...]
    columns: tuple[tuple[str, int | Callable[[Any, Any], Any]], ...]

    @property
    def knows(self) -> set[str]:
        """The parameters it takes; with any other one given it is not used."""
        return {
            ours for part in self.parts for ours in part.options.values() if isinstance(ours, str)
        }


def _one(function: str, inputs: str, column: str, **options: str | float) -> Recipe:
    return Recipe((Part(function, inputs, options),), ((column, 0),))


def _length(function: str, column: str, inputs: str = "c") -> Recipe:
    return _one(function, inputs, f"{column}_{{length}}", timeperiod="length")


def _averages() -> dict[str, Recipe]:
    named = {
        "ema": ("EMA", "EMA"), "sma": ("SMA", "SMA"), "wma": ("WMA", "WMA"),
        "dema": ("DEMA", "DEMA"), "tema": ("TEMA", "TEMA"), "hma": ("HMA", "HMA"),
        "rma": ("RMA", "RMA"), "zlma": ("ZLEMA", "ZL_EMA"), "midpoint": ("MIDPOINT", "MIDPOINT"),
        "linreg": ("LINEARREG", "LR"), "linregangle": ("LINEARREG_ANGLE", "LRa"),
        "linregintercept": ("LINEARREG_INTERCEPT", "LRb"),
        "linregslope": ("LINEARREG_SLOPE", "LRm"),
        "tsf": ("TSF", "TSF"),
    }  # fmt: skip
    return {name: _length(*names) for name, names in named.items()} | {
        "vwma": _length("VWMA", "VWMA", "cv"),
        "midprice": _length("MIDPRICE", "MIDPRICE", "hl"),
        "kama": _one("KAMA", "c", "KAMA_{length}_2_30", timeperiod="length"),
        "t3": _one("T3", "c", "T3_{length}_{a}", timeperiod="length", vfactor="a"),
        "ht_trendline": _one("HT_TRENDLINE", "c", "HT_TRENDLINE"),
        "mama": Recipe(
            (Part("MAMA", "c", {"fastlimit": "fastlimit", "slowlimit": "slowlimit"}),),
            (("MAMA_{fastlimit}_{slowlimit}", 0), ("FAMA_{fastlimit}_{slowlimit}", 1)),
        ),
        "avgprice": _one("AVGPRICE", "ohlc", "AVGPRICE"),
        "ohlc4": _one("AVGPRICE", "ohlc", "OHLC4"),
        "medprice": _one("MEDPRICE", "hl", "MEDPRICE"),
        "hl2": _one("MEDPRICE", "hl", "HL2"),
        "typprice": _one("TYPPRICE", "hlc", "TYPPRICE"),
        "hlc3": _one("TYPPRICE", "hlc", "HLC3"),
        "wcp": _one("WCLPRICE", "hlc", "WCP"),
        "ha": Recipe(
            (Part("HA", "ohlc", {}),),
            (("HA_open", 0), ("HA_high", 1), ("HA_low", 2), ("HA_close", 3)),
        ),
    }


def _bands() -> dict[str, Recipe]:
    return {
        "bbands": Recipe(
            (Part("BBANDS", "c", {"timeperiod": "length", "nbdevup": "std", "nbdevdn": "std"}),),
            (
                ("BBL_{length}_{std}", 2), ("BBM_{length}_{std}", 1), ("BBU_{length}_{std}", 0),
                ("BBB_{length}_{std}", lambda o, _: 100 * (o[0] - o[2]) / o[1]),
                ("BBP_{length}_{std}", lambda o, close: (close - o[2]) / (o[0] - o[2])),
            ),
        ),
        "accbands": Recipe(
            (Part("ACCBANDS", "hlc", {"timeperiod": "length"}),),
            (("ACCBL_{length}", 2), ("ACCBM_{length}", 1), ("ACCBU_{length}", 0)),
        ),
        "atr": _length("ATR", "ATRr", "hlc"),
        "natr": _length("NATR", "NATR", "hlc"),
        "true_range": _one("TRANGE", "hlc", "TRUERANGE_1"),
        "cvi": _one("CVI", "hl", "CVI_{length}", timeperiod="length", rocperiod="length"),
        "massi": _one("MASSI", "hl", "MASSI_{fast}_{slow}", fastperiod="fast", slowperiod="slow"),
        "stdev": _length("STDDEV", "STDEV"),
        "variance": _length("VAR", "VAR"),
        "mad": _length("AVGDEV", "MAD"),
        "md": _length("AVGDEV", "MD"),
    }  # fmt: skip


def _oscillators() -> dict[str, Recipe]:
    named = {
        "rsi": ("RSI", "RSI"), "mom": ("MOM", "MOM"), "roc": ("ROC", "ROC"),
        "rocp": ("ROCP", "ROCP"), "rocr": ("ROCR", "ROCR"), "rocr100": ("ROCR100", "ROCR100"),
        "er": ("ER", "ER"), "vhf": ("VHF", "VHF"), "willr": ("WILLR", "WILLR", "hlc"),
        "qstick": ("QSTICK", "QS", "oc"),
        "efi": ("EFI", "EFI", "cv"),
        "cmf": ("CMF", "CMF", "hlcv"),
    }  # fmt: skip
    return {name: _length(*names) for name, names in named.items()} | {
        "cci": _one("CCI", "hlc", "CCI_{length}_0.015", timeperiod="length"),
        "apo": _one("APO", "c", "APO_{fast}_{slow}",
                    fastperiod="fast", slowperiod="slow", matype=0),
        "ao": _one("AO", "hl", "AO_{fast}_{slow}", fastperiod="fast", slowperiod="slow"),
        "coppock": _one(
            "COPPOCK", "c", "COPC_{fast}_{slow}_{length}",
            wmaperiod="length", roc1period="fast", roc2period="slow",
        ),
        "eri": Recipe(
            (Part("ERI", "hlc", {"timeperiod": "length"}),),
            (("BULLP_{length}", 0), ("BEARP_{length}", 1)),
        ),
        "stoch": Recipe(
            (Part("STOCH", "hlc", {"fastk_period": "k", "slowk_period": "smooth_k",
                                   "slowd_period": "d"}),),
            (("STOCHk_{k}_{d}_{smooth_k}", 0), ("STOCHd_{k}_{d}_{smooth_k}", 1)),
        ),
        "stochf": Recipe(
            (Part("STOCHF", "hlc", {"fastk_period": "fastk", "fastd_period": "fastd"}),),
            (("STOCHFk_{fastk}_{fastd}", 0), ("STOCHFd_{fastk}_{fastd}", 1)),
        ),
        "uo": _one("ULTOSC", "hlc", "UO_{fast}_{medium}_{slow}",
                   timeperiod1="fast", timeperiod2="medium", timeperiod3="slow"),
        "ht_dcperiod": _one("HT_DCPERIOD", "c", "HT_DCPERIOD"),
        "ht_phasor": Recipe(
            (Part("HT_PHASOR", "c", {}),), (("HT_PHASOR_INPHASE", 0), ("HT_PHASOR_QUAD", 1))
        ),
        "ht_sine": Recipe((Part("HT_SINE", "c", {}),), (("HT_SINE", 0), ("HT_LEADSINE", 1))),
        "ht_trendmode": _one("HT_TRENDMODE", "c", "HT_TRENDMODE"),
    }  # fmt: skip


def _directions() -> dict[str, Recipe]:
    length = {"timeperiod": "length"}
    signs = (Part("PLUS_DI", "hlc", length), Part("MINUS_DI", "hlc", length))
    return {
        # TA-Lib's own DMP and DMN of the same name are movements; these are the indicators.
        "adx": Recipe(
            (Part("ADX", "hlc", length), *signs),
            (("ADX_{length}", 0), ("DMP_{length}", 1), ("DMN_{length}", 2)),
        ),
        "dx": _length("DX", "DX", "hlc"),
        "plus_dm": _length("PLUS_DM", "PLUS_DM", "hl"),
        "minus_dm": _length("MINUS_DM", "MINUS_DM", "hl"),
        "dm": Recipe(
            (Part("PLUS_DM", "hl", length), Part("MINUS_DM", "hl", length)),
            (("DMP_{length}", 0), ("DMN_{length}", 1)),
        ),
        "aroon": Recipe(
            (Part("AROON", "hl", length), Part("AROONOSC", "hl", length)),
            (("AROOND_{length}", 0), ("AROONU_{length}", 1), ("AROONOSC_{length}", 2)),
        ),
        "vortex": Recipe(
            (Part("VORTEX", "hlc", length),), (("VTXP_{length}", 0), ("VTXM_{length}", 1))
        ),
        "ad": _one("AD", "hlcv", "AD"),
        "adosc": _one("ADOSC", "hlcv", "ADOSC_{fast}_{slow}", fastperiod="fast", slowperiod="slow"),
        "obv": _one("OBV", "cv", "OBV"),
        "wad": _one("WAD", "hlc", "WAD"),
        "marketfi": _one("MARKETFI", "hlv", "MARKETFI"),
    }


RECIPES: Final[dict[str, Recipe]] = {
    **_averages(), **_bands(), **_oscillators(), **_directions(),
}  # fmt: skip
