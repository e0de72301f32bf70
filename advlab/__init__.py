"""How robust is a Keras image classifier, and can that number be believed?

The public names below are loaded on first use, so ``import advlab`` costs nothing; see the README for a first example.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from advlab.progress import in_notebook

if TYPE_CHECKING:  # what editors and type checkers see of the lazy names below
    from advlab import figures as figures
    from advlab.classifiers.classifier import Classifier as Classifier
    from advlab.classifiers.devices import use_device as use_device
    from advlab.classifiers.ensemble import ensemble as ensemble
    from advlab.data.dataset import Dataset as Dataset
    from advlab.data.loading import load_dataset as load_dataset
    from advlab.declarations.attack import Attack as Attack
    from advlab.declarations.benchmarks import load_benchmark as load_benchmark
    from advlab.declarations.recipes import Recipe as Recipe
    from advlab.declarations.recipes import load_recipe as load_recipe
    from advlab.declarations.studies import load_study as load_study
    from advlab.declarations.suites import load_suite as load_suite
    from advlab.defenses.detector import Detector as Detector
    from advlab.documentation import docs_address as docs_address
    from advlab.errors import AdvlabError as AdvlabError
    from advlab.errors import AdvlabWarning as AdvlabWarning
    from advlab.errors import FileExists as FileExists
    from advlab.errors import InvalidFile as InvalidFile
    from advlab.errors import InvalidValue as InvalidValue
    from advlab.errors import Mismatch as Mismatch
    from advlab.errors import UnknownName as UnknownName
    from advlab.evaluation.compare import compare as compare
    from advlab.evaluation.comparison import Comparison as Comparison
    from advlab.evaluation.curve import SecurityCurve as SecurityCurve
    from advlab.evaluation.defense import DefenseReport as DefenseReport
    from advlab.evaluation.detection import Detection as Detection
    from advlab.evaluation.evaluation import Evaluation as Evaluation
    from advlab.evaluation.evaluation import WorstCase as WorstCase
    from advlab.evaluation.evaluation import evaluate as evaluate
    from advlab.evaluation.evaluation import worst_case as worst_case
    from advlab.evaluation.files import evaluate_files as evaluate_files
    from advlab.evaluation.findings.checks import Finding as Finding
    from advlab.evaluation.findings.cross import cross_findings as cross_findings
    from advlab.evaluation.noise import NoiseEvaluation as NoiseEvaluation
    from advlab.evaluation.predictions import Predictions as Predictions
    from advlab.evaluation.records import to_records as to_records
    from advlab.evaluation.study import StudyResult as StudyResult
    from advlab.evaluation.table import table as table
    from advlab.evaluation.transfer import TransferMatrix as TransferMatrix
    from advlab.problem.problem import START as START
    from advlab.problem.problem import ExternalLoop as ExternalLoop
    from advlab.problem.problem import Loop as Loop
    from advlab.problem.problem import Problem as Problem
    from advlab.problem.problem import Query as Query
    from advlab.problem.problem import State as State
    from advlab.problem.problem import UniversalLoop as UniversalLoop
    from advlab.reporting.report import report as report
    from advlab.results.attributions import Attributions as Attributions
    from advlab.results.certificate import Certificate as Certificate
    from advlab.results.property_certificate import PropertyCertificate as PropertyCertificate
    from advlab.results.result import AttackResult as AttackResult
    from advlab.results.result import load_result as load_result
    from advlab.threat import ThreatModel as ThreatModel
    from advlab.workflows.attack import attack as attack
    from advlab.workflows.audit import Audit as Audit
    from advlab.workflows.audit import audit as audit
    from advlab.workflows.benchmark import benchmark as benchmark
    from advlab.workflows.benchmark_plan import BenchmarkPlan as BenchmarkPlan
    from advlab.workflows.benchmark_plan import plan_benchmark as plan_benchmark
    from advlab.workflows.certify import certify as certify
    from advlab.workflows.certify_property import certify_property as certify_property
    from advlab.workflows.compare import compare_archives as compare_archives
    from advlab.workflows.cost import Cost as Cost
    from advlab.workflows.cost import cost as cost
    from advlab.workflows.curve import curve as curve
    from advlab.workflows.defense_report import defense_report as defense_report
    from advlab.workflows.demo import demo as demo
    from advlab.workflows.detection import evaluate_detector as evaluate_detector
    from advlab.workflows.doctor import Diagnosis as Diagnosis
    from advlab.workflows.doctor import doctor as doctor
    from advlab.workflows.explain import attribute as attribute
    from advlab.workflows.explain import explain as explain
    from advlab.workflows.export import export as export
    from advlab.workflows.harden import Hardened as Hardened
    from advlab.workflows.harden import harden as harden
    from advlab.workflows.import_images import import_images as import_images
    from advlab.workflows.listing import available as available
    from advlab.workflows.model_file import ModelFile as ModelFile
    from advlab.workflows.model_file import load_classifier as load_classifier
    from advlab.workflows.new import new as new
    from advlab.workflows.noise import evaluate_noise as evaluate_noise
    from advlab.workflows.predict import predict as predict
    from advlab.workflows.run_suite import run as run
    from advlab.workflows.selftest import SelfTest as SelfTest
    from advlab.workflows.selftest import selftest as selftest
    from advlab.workflows.study import study as study
    from advlab.workflows.summary import ModelSummary as ModelSummary
    from advlab.workflows.summary import summary as summary
    from advlab.workflows.tracking import track as track
    from advlab.workflows.train import train as train
    from advlab.workflows.transfer import transfer as transfer
    from advlab.workflows.verify import Verification as Verification
    from advlab.workflows.verify import verify as verify
    from advlab.workflows.workers import use_workers as use_workers

__version__ = "0.1.0"

_ROOM = {
    "AdvlabError": "errors",
    "AdvlabWarning": "errors",
    "Attack": "declarations.attack",
    "AttackResult": "results.result",
    "Attributions": "results.attributions",
    "Audit": "workflows.audit",
    "BenchmarkPlan": "workflows.benchmark_plan",
    "Certificate": "results.certificate",
    "Classifier": "classifiers.classifier",
    "Comparison": "evaluation.comparison",
    "Cost": "workflows.cost",
    "Dataset": "data.dataset",
    "DefenseReport": "evaluation.defense",
    "Detection": "evaluation.detection",
    "Detector": "defenses.detector",
    "Diagnosis": "workflows.doctor",
    "Evaluation": "evaluation.evaluation",
    "ExternalLoop": "problem.problem",
    "FileExists": "errors",
    "Finding": "evaluation.findings.checks",
    "Hardened": "workflows.harden",
    "InvalidFile": "errors",
    "InvalidValue": "errors",
    "Loop": "problem.problem",
    "Mismatch": "errors",
    "ModelFile": "workflows.model_file",
    "ModelSummary": "workflows.summary",
    "NoiseEvaluation": "evaluation.noise",
    "Predictions": "evaluation.predictions",
    "Problem": "problem.problem",
    "PropertyCertificate": "results.property_certificate",
    "Query": "problem.problem",
    "Recipe": "declarations.recipes",
    "START": "problem.problem",
    "SecurityCurve": "evaluation.curve",
    "SelfTest": "workflows.selftest",
    "State": "problem.problem",
    "StudyResult": "evaluation.study",
    "ThreatModel": "threat",
    "TransferMatrix": "evaluation.transfer",
    "UniversalLoop": "problem.problem",
    "UnknownName": "errors",
    "Verification": "workflows.verify",
    "WorstCase": "evaluation.evaluation",
    "attack": "workflows.attack",
    "attribute": "workflows.explain",
    "audit": "workflows.audit",
    "available": "workflows.listing",
    "benchmark": "workflows.benchmark",
    "certify": "workflows.certify",
    "certify_property": "workflows.certify_property",
    "compare": "evaluation.compare",
    "compare_archives": "workflows.compare",
    "cross_findings": "evaluation.findings.cross",
    "cost": "workflows.cost",
    "curve": "workflows.curve",
    "defense_report": "workflows.defense_report",
    "demo": "workflows.demo",
    "docs_address": "documentation",
    "doctor": "workflows.doctor",
    "ensemble": "classifiers.ensemble",
    "evaluate": "evaluation.evaluation",
    "evaluate_detector": "workflows.detection",
    "evaluate_files": "evaluation.files",
    "evaluate_noise": "workflows.noise",
    "explain": "workflows.explain",
    "export": "workflows.export",
    "harden": "workflows.harden",
    "import_images": "workflows.import_images",
    "load_benchmark": "declarations.benchmarks",
    "load_classifier": "workflows.model_file",
    "load_dataset": "data.loading",
    "load_recipe": "declarations.recipes",
    "load_result": "results.result",
    "load_study": "declarations.studies",
    "load_suite": "declarations.suites",
    "new": "workflows.new",
    "plan_benchmark": "workflows.benchmark_plan",
    "predict": "workflows.predict",
    "report": "reporting.report",
    "run": "workflows.run_suite",
    "selftest": "workflows.selftest",
    "study": "workflows.study",
    "summary": "workflows.summary",
    "table": "evaluation.table",
    "to_records": "evaluation.records",
    "track": "workflows.tracking",
    "train": "workflows.train",
    "transfer": "workflows.transfer",
    "use_device": "classifiers.devices",
    "use_workers": "workflows.workers",
    "verify": "workflows.verify",
    "worst_case": "evaluation.evaluation",
}

__all__ = sorted([*_ROOM, "figures"])


def __getattr__(name: str) -> Any:
    if name == "figures":
        return import_module("advlab.figures")
    if name not in _ROOM:
        raise AttributeError(f"module 'advlab' has no attribute '{name}'. Public names: {', '.join(__all__)}.")
    if in_notebook():
        # What TensorFlow's C++ part writes when it loads would open every notebook in red.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    value = getattr(import_module(f"advlab.{_ROOM[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
