#!/bin/bash
# Every run behind the JSON files of this folder, and the files made of them; runs/ comes to lie where it is called.
#
#     bash experiments/teacher_student/runs.sh            a finished run is left alone; the synthetic ones take some three hours of a shared core
#
# The last part needs the open demos of MIMIC-IV and eICU in ICU_DATA_ROOT. With FULL=1 also the timed run; BESIDE='...' says what
# else the machine did; speed.json and stage_times.json differ from machine to machine, the others do not.
#
# `run NAME WORDS` is one run, into runs/NAME. One thread, because sums over several round otherwise.
set -e
HERE=$(cd "$(dirname "$0")" && pwd)
ALL="data=synthetic data.stays=30000 report=none report.figures=none bootstrap=10 trainer.threads=1"

run() {
  [ -e "runs/$1/metrics.json" ] && return
  if [ -e "runs/$1" ]; then python -m icu_lightning.run "resume=runs/$1"; return; fi
  python -m icu_lightning.run $ALL "${@:2}" "hydra.run.dir=runs/$1"
}

run student model=teacher_student model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run teacher model=teacher_student model.risk=teacher model.stages.mae.checkpoint=runs/student model.stages.teacher.checkpoint=runs/student
run vis_lstm model=vis_lstm
# The next line has the settings that these 20 trials found best on validation
[ -e runs/search_lstm ] || python -m icu_lightning.run -m search=vis_lstm $ALL hydra.sweep.dir=runs/search_lstm
python "$HERE/trials.py" runs/search_lstm --out "$HERE/lstm_search.json"
run vis_lstm_searched model=vis_lstm model.width=64 model.dropout=0.06691476447963829 model.optimizer.lr=0.0004474654488428513 model.optimizer.weight_decay=0.0034785347063452337
run vis_gru model=vis_gru
run lr_sofa_vis model=vis_logistic
run sofa model=vis_logistic 'model.columns=[sofa]'
run lods model=vis_logistic 'model.columns=[lods]'
run saps2 model=vis_logistic 'model.columns=[saps2]'
run oasis model=vis_logistic 'model.columns=[oasis]'
run sirs model=vis_logistic 'model.columns=[sirs]'

# The student's ablations: its teacher is that of everything. (When they were run, model.stages.mae.epochs=0 had to be said, too)
run no_teacher model=teacher_student model/ablation=no_teacher model.stages.teacher.checkpoint=runs/student model.stages.student.epochs=60
run no_labels model=teacher_student model/ablation=no_labels model.stages.teacher.checkpoint=runs/student model.stages.student.epochs=60
run no_soft_labels model=teacher_student model/ablation=no_soft_labels model.stages.teacher.checkpoint=runs/student model.stages.student.epochs=60
run no_features model=teacher_student model/ablation=no_features model.stages.teacher.checkpoint=runs/student model.stages.student.epochs=60
run no_severity model=teacher_student model/ablation=no_severity model.stages.teacher.checkpoint=runs/student model.stages.student.epochs=60
run no_gaps model=teacher_student model/ablation=no_gaps model.stages.teacher.checkpoint=runs/student model.stages.student.epochs=60
run temperature_1 model=teacher_student model/ablation=temperature_1 model.stages.teacher.checkpoint=runs/student model.stages.student.epochs=60
for name in student vis_lstm no_gaps; do
  [ -e "runs/$name/robustness.json" ] || python -m icu_lightning.robustness run=runs/$name
done

# Those that train a teacher anew, from the same pretraining or from none, and those that pretrain anew
run no_multitask model=teacher_student model/ablation=no_multitask model.stages.mae.checkpoint=runs/student model.stages.teacher.epochs=20 model.stages.student.epochs=60
run no_pretraining model=teacher_student model/ablation=no_pretraining model.stages.teacher.epochs=20 model.stages.student.epochs=60
run no_static model=teacher_student model/ablation=no_static model.stages.mae.checkpoint=runs/student model.stages.teacher.epochs=20 model.stages.student.epochs=60
run no_line model=teacher_student model/ablation=no_line model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run equal_hours model=teacher_student model/ablation=equal_hours model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run septic_pretraining model=teacher_student data.pretraining_cohort=null model.stages.mae.epochs=33 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run mask_25 model=teacher_student model/ablation=mask_25 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run mask_50 model=teacher_student model/ablation=mask_50 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run mask_90 model=teacher_student model/ablation=mask_90 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run random_masks model=teacher_student model/ablation=random_masks model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run span_masks model=teacher_student model/ablation=span_masks model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60

# Everything again from other random weights, batches and gaps, pretraining included
run student_1 model=teacher_student model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60 seed=1
run vis_lstm_1 model=vis_lstm seed=1
run student_2 model=teacher_student model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60 seed=2
run vis_lstm_2 model=vis_lstm seed=2

run student_36 model=teacher_student model.horizon=36 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run student_24 model=teacher_student model.horizon=24 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run student_12 model=teacher_student model.horizon=12 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60
run gru_36 model=vis_gru model.horizon=36
run gru_24 model=vis_gru model.horizon=24
run gru_12 model=vis_gru model.horizon=12
run gru_12_1 model=vis_gru model.horizon=12 seed=1
run gru_12_2 model=vis_gru model.horizon=12 seed=2
run student_12_1 model=teacher_student model.horizon=12 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60 seed=1
run student_12_2 model=teacher_student model.horizon=12 model.stages.mae.epochs=3 model.stages.teacher.epochs=20 model.stages.student.epochs=60 seed=2
run age model=vis_logistic 'model.columns=[age]'

run paper_shap bootstrap=1000 model=teacher_student model/variant=paper_shap model.stages.mae.checkpoint=runs/student model.stages.teacher.epochs=20 model.stages.student.epochs=60
[ -e runs/paper_shap/explanation.json ] || python -m icu_lightning.explain run=runs/paper_shap stays=200 evaluations=15000

[ -e runs/inputs ] || python -m icu_lightning.run -m experiment=sociodemographics model=vis_gru $ALL hydra.sweep.dir=runs/inputs

[ -e runs/inputs_student ] || python -m icu_lightning.run -m experiment=sociodemographics $ALL model=teacher_student model.stages.mae.checkpoint="$PWD/runs/student" model.stages.teacher.epochs=20 model.stages.student.epochs=60 hydra.sweep.dir=runs/inputs_student

python "$HERE/results.py" student=runs/student teacher=runs/teacher vis_lstm=runs/vis_lstm vis_lstm_searched=runs/vis_lstm_searched vis_gru=runs/vis_gru lr_sofa_vis=runs/lr_sofa_vis \
  sofa=runs/sofa lods=runs/lods saps2=runs/saps2 oasis=runs/oasis sirs=runs/sirs --against vis_lstm --pair student teacher --pair student vis_gru --pair student vis_lstm_searched \
  --out "$HERE/results.json"
python "$HERE/results.py" student=runs/student no_teacher=runs/no_teacher no_labels=runs/no_labels no_soft_labels=runs/no_soft_labels \
  no_features=runs/no_features no_severity=runs/no_severity no_gaps=runs/no_gaps temperature_1=runs/temperature_1 no_static=runs/no_static no_multitask=runs/no_multitask \
  no_pretraining=runs/no_pretraining no_line=runs/no_line equal_hours=runs/equal_hours septic_pretraining=runs/septic_pretraining \
  mask_25=runs/mask_25 mask_50=runs/mask_50 mask_90=runs/mask_90 random_masks=runs/random_masks span_masks=runs/span_masks --against student \
  --out "$HERE/ablations.json"
python "$HERE/results.py" student_0=runs/student vis_lstm_0=runs/vis_lstm student_1=runs/student_1 vis_lstm_1=runs/vis_lstm_1 student_2=runs/student_2 \
  vis_lstm_2=runs/vis_lstm_2 --against vis_lstm_0 --pair student_0 vis_lstm_0 --pair student_1 vis_lstm_1 --pair student_2 vis_lstm_2 \
  --out "$HERE/seeds.json"
python "$HERE/results.py" vis_gru=runs/vis_gru gru_36=runs/gru_36 gru_24=runs/gru_24 gru_12=runs/gru_12 --against vis_gru --out "$HERE/horizons.json"
python "$HERE/results.py" student=runs/student student_36=runs/student_36 student_24=runs/student_24 student_12=runs/student_12 \
  vis_gru=runs/vis_gru gru_36=runs/gru_36 gru_24=runs/gru_24 gru_12=runs/gru_12 --against student \
  --pair student vis_gru --pair student_36 gru_36 --pair student_24 gru_24 --pair student_12 gru_12 \
  --pair student_36 student_24 --pair student_24 student_12 --out "$HERE/horizons_student.json"
python "$HERE/results.py" age=runs/age student_12_0=runs/student_12 student_12_1=runs/student_12_1 student_12_2=runs/student_12_2 \
  gru_12_0=runs/gru_12 gru_12_1=runs/gru_12_1 gru_12_2=runs/gru_12_2 --against age --pair student_12_0 gru_12_0 --pair student_12_1 gru_12_1 \
  --pair student_12_2 gru_12_2 --pair student_12_0 age --pair student_12_1 age --pair student_12_2 age --out "$HERE/twelve.json"
python "$HERE/severity.py" runs/student --out "$HERE/severity.json"
python "$HERE/results.py" student=runs/student paper_shap=runs/paper_shap --against student --shap paper_shap --out "$HERE/shap.json"
python "$HERE/pretraining.py" runs/student --beside no_line=runs/no_line --out "$HERE/pretraining.json"
python "$HERE/inputs.py" runs/inputs --out "$HERE/inputs.json"
python "$HERE/inputs.py" runs/inputs --risk calibrated --out "$HERE/inputs_calibrated.json"
python "$HERE/inputs.py" runs/inputs_student --out "$HERE/inputs_student.json"
python "$HERE/inputs.py" runs/inputs_student --risk calibrated --out "$HERE/inputs_student_calibrated.json"
python "$HERE/speed.py" --out "$HERE/speed.json"

for data in mimic4 eicu; do
  [ -e "runs/demo_$data/metrics.json" ] ||
    python -m icu_lightning.run model=teacher_student data=$data hydra.run.dir=runs/demo_$data
done
python "$HERE/demos.py" mimic4=runs/demo_mimic4 eicu=runs/demo_eicu --out "$HERE/demos.json"

if [ -n "$FULL" ]; then
  FULL="data=synthetic data.stays=88650 data.pretraining_cohort=null report=none"
  [ -e runs/full/metrics.json ] || python -m icu_lightning.run model=teacher_student $FULL trainer=ddp_cpu data.batch_size=128 hydra.run.dir=runs/full
  python "$HERE/stage_times.py" runs/full --cores "$(nproc)" --beside "${BESIDE:-not said}" --out "$HERE/stage_times.json"
  ALL="$FULL report.figures=none trainer.threads=1"
  run full_student model=teacher_student
  run full_teacher model=teacher_student model.risk=teacher model.stages.mae.checkpoint=runs/full_student model.stages.teacher.checkpoint=runs/full_student
  run full_transformer model=teacher_student model/reader=transformer model.stages.mae.checkpoint=runs/full_student model.stages.teacher.checkpoint=runs/full_student
  run full_vis_lstm model=vis_lstm
  run full_vis_gru model=vis_gru
  run full_no_line model=teacher_student model/ablation=no_line
  run full_no_pretraining model=teacher_student model/ablation=no_pretraining
  python "$HERE/results.py" student=runs/full_student teacher=runs/full_teacher vis_lstm=runs/full_vis_lstm vis_gru=runs/full_vis_gru transformer=runs/full_transformer \
    no_line=runs/full_no_line no_pretraining=runs/full_no_pretraining --against vis_lstm --pair student teacher --pair student vis_gru \
    --pair transformer student --pair no_line student --pair no_pretraining student --out "$HERE/full.json"
  python "$HERE/pretraining.py" runs/full_student --beside no_line=runs/full_no_line --out "$HERE/full_pretraining.json"
fi
